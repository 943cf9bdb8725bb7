"""Every oracle fires on a kernel in which just that is wrong, and no other oracle does."""

from __future__ import annotations

import pytest
from tests.explore.mutants import MUTANTS, Mutant

from gmemsim.engine.strategy import FirstRunnable, RandomStrategy


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_breaks_its_rule_alone(mutant: Mutant) -> None:
    """The first schedule that shows anything shows violations of the one rule."""
    for seed in range(mutant.seeds):
        strategy = FirstRunnable() if mutant.seeds == 1 else RandomStrategy(seed)
        oracles = mutant.machine().run(mutant.plan, strategy, collect=True)
        if oracles.violations:
            assert {violation.rule for violation in oracles.violations} - mutant.also == {mutant.rule}
            return
    pytest.fail(f"{mutant.seeds} schedules and no violation")
