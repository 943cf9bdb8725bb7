"""Every oracle of conversion in place fires on a kernel in which just that is wrong, and no other oracle does."""

from __future__ import annotations

import pytest
from tests.explore.mutants_inplace import INPLACE_MUTANTS, InplaceMutant
from tests.model.inplace_rig import InplaceRig

from gmemsim.engine.strategy import FirstRunnable, RandomStrategy
from gmemsim.oracles.oracles import checks_of
from gmemsim.oracles.rules import RULES
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.registry import IN_PLACE


@pytest.mark.parametrize("mutant", INPLACE_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_breaks_its_rule_alone(mutant: InplaceMutant) -> None:
    """The first schedule that shows anything shows violations of the one rule."""
    for seed in range(mutant.seeds):
        strategy = FirstRunnable() if mutant.seeds == 1 else RandomStrategy(seed)
        rules = set(RULES) - mutant.beside
        oracles = mutant.machine().run(mutant.plan, strategy, collect=True, rules=rules)
        if oracles.violations:
            assert {violation.rule for violation in oracles.violations} == {mutant.rule}
            return
    pytest.fail(f"{mutant.seeds} schedules and no violation")


@pytest.mark.parametrize("mutant", INPLACE_MUTANTS, ids=lambda mutant: mutant.name)
@pytest.mark.parametrize("patch", ["inplace-v8", "inplace"])
def test_versions_pass_the_same_workloads(mutant: InplaceMutant, patch: str) -> None:
    """What a mutant trips over, the versions as they are do not."""
    machine = mutant.machine()
    sound = InplaceRig(
        IN_PLACE[patch],
        {"assigning": "assigned", "sw-protected": "private"}.get(machine.arch.name, machine.arch.name),
        shared=machine.inode.init_shared,
        finalized=machine.vm.finalized,
    )
    assert not sound.run(mutant.plan, RandomStrategy(1)).violations


def test_every_rule_of_conversion_has_a_check() -> None:
    """No rule that speaks of versions with attributes of the inode is without a check and a mutant."""
    needed = {ident for ident, rule in RULES.items() if rule.needs in ("in_place", "get_pfn_puts")}
    assert needed == {"I10", "I22", "I23", "I24", "I25", "I26", "I29", "I30", "I51"}
    assert needed <= {mutant.rule for mutant in INPLACE_MUTANTS}
    assert all(checks_of(ident) for ident in needed)
    assert not [ident for ident in needed if RULES[ident].void(InplaceRig(Inplace).kernel)]
