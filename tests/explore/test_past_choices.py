"""A broken choice of lock or order does not hide the harm that comes of it, nor that none does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

from gmemsim.actors.errno import EFAULT
from gmemsim.explore import stress
from gmemsim.explore.campaign import Campaign
from gmemsim.explore.past_choices import in_words, run_past_choices
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, SearchResult
from gmemsim.explore.stress import Cell, Plan, run_cell
from gmemsim.explore.token import decode, encode
from gmemsim.oracles.every_rule import UnknownRule
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import Scenario, loads
from gmemsim.testing import ScheduleFailure, check

_TEXT = """
[scenario]
name = "two"
summary = "faults on one page"
vm_types = ["snp"]

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x100

[[task]]
role = "vcpu"
instances = {vcpus}
ops = [{{ op = "prefault" }}]
"""


def scenario(vcpus: int) -> Scenario:
    return loads(_TEXT.format(vcpus=vcpus), "two.toml")


class PrepareUnlocked(V3):
    """Drops the folio lock before the hook, as reviewers suggested (I33)."""

    name = "prepare-unlocked"

    async def kvm_gmem_get_file_pfn(self, t: Any, vm: Any, slot: Any, gfn: int, index: int) -> Any:
        file = await self.get_file_active(t, slot.gmem_file)
        if file is None:
            return -EFAULT, None
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            await self.fput_later(t, file)
            return folio, None
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, file.inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, file.inode, folio)
        await self.folio_unlock(t, folio)
        ret = await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)
        if ret:
            await self.folio_put(t, file.inode, folio)
        await self.fput_later(t, file)
        return (ret, None) if ret else (0, folio)


@cache
def searched(vcpus: int, **changes: Any) -> SearchResult:
    program = ScenarioProgram(scenario=scenario(vcpus), patch=PrepareUnlocked, arch="snp", **changes)
    return run_past_choices(Campaign(program=program, strategy="stateful" if vcpus == 1 else "random")).search


def rules(done: SearchResult) -> list[str]:
    return [found.failure.rule for found in done.found]


def test_harm_comes_first_and_the_choice_is_named_too() -> None:
    done = searched(2)
    assert rules(done) == ["I32", "I33"]
    assert done.past == ("I33",)
    harm, choice = done.found
    assert (harm.without, choice.without) == (frozenset({"I33"}), frozenset())
    assert in_words(done)[-1] == "Harm found past I33: I32."


def test_without_harm_that_is_said_with_how_much_was_looked_at() -> None:
    done = searched(1)
    assert rules(done) == ["I33"]
    assert done.complete
    assert "I33" not in done.rules
    assert in_words(done)[-1] == f"No harm found past I33 in {done.states} states (complete)."


def test_a_rule_that_is_left_out_is_not_found_and_said_to_be_left_out() -> None:
    done = searched(1, without="I33")
    assert done.found == ()
    assert (done.without, done.past) == (("I33",), ())
    assert rules(searched(2, without="I33")) == ["I32"]
    with pytest.raises(UnknownRule, match="did you mean"):
        searched(1, without="I3x")


@pytest.mark.parametrize("rule", ["guarded_by", "bounded_waiting", "linearizability"])
def test_others_than_invariants_are_left_out_too(rule: str) -> None:
    assert rule in searched(1).rules
    assert rule not in searched(1, without=rule).rules


def test_time_that_is_up_is_no_search_for_harm() -> None:
    program = ScenarioProgram(scenario=scenario(1), patch=PrepareUnlocked, arch="snp")
    found = run_past_choices(Campaign(program=program, strategy="stateful")).search.found
    done = attrs.evolve(searched(1), past=(), stopped="seconds", found=found)
    assert in_words(done)[-1] == "No harm was looked for past I33: time was up."


def test_a_token_leaves_out_what_the_search_left_out() -> None:
    harm = searched(2).found[0]
    program = ScenarioProgram(scenario=scenario(2), patch=PrepareUnlocked, arch="snp", without=harm.without)
    token = decode(encode(program, harm.tape))
    assert token.failure == ("I32", "PrepareRet")
    assert token.program(PrepareUnlocked).without == {"I33"}


def test_a_test_fails_with_both() -> None:
    with pytest.raises(ScheduleFailure) as caught:
        check(scenario(2), PrepareUnlocked, "snp", schedules=50)
    assert caught.value.found.failure.rule == "I32"
    assert "Harm found past I33: I32." in str(caught.value)
    check(scenario(1), PrepareUnlocked, "snp", schedules=50, without="I33")


def test_stress_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[SearchResult] = []
    real = stress._search

    def noted(*arguments: Any) -> SearchResult:
        searches.append(real(*arguments))
        return searches[-1]

    monkeypatch.setattr(stress, "_search", noted)
    file = tmp_path / "two.toml"
    file.write_text(_TEXT.format(vcpus=2))
    cell = Cell(str(file), "v3+prepare-outside-folio-lock", "snp", 0)
    result = run_cell(cell, Plan(schedules=50))
    assert {each["rule"] for each in result["violations"]} >= {"I32", "I33"}
    assert result["past"] == ["I33"]
    assert result["steps"] == sum(each.steps for each in searches)
    assert result["schedules"] == sum(each.schedules for each in searches)
    assert "I33" not in {
        each["rule"] for each in run_cell(cell, Plan(schedules=20, without=("I33",)))["violations"]
    }


_LAUNCH = """
[scenario]
name = "launch"
summary = "populate, and a hole elsewhere"
vm_types = ["snp"]

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x100

[setup]
finalize = false

[[task]]
name = "vmm"
ops = [{ op = "populate", count = 1, source = "image" }]

[[task]]
name = "punch"
ops = [{ op = "punch", start = 1, count = 1 }]
"""


class PopulateShared(V3):
    """Takes the invalidate lock shared for the loop, and again around each callback."""

    name = "populate-shared"

    async def kvm_gmem_populate_pages(
        self, t: Any, vm: Any, slot: Any, file: Any, gfn: int, pages: int, source: Any
    ) -> int:
        lock = file.inode.invalidate_lock
        await lock.down_read(t)
        ret: int = await self.kvm_gmem_populate_one(t, vm, slot, file, gfn, source.contents[0])
        await lock.up_read(t)
        return 1 if ret == 0 else ret

    async def post_populate(self, t: Any, vm: Any, gfn: int, folio: Any, content: Any) -> int:
        await folio.mapping.invalidate_lock.down_read(t)
        ret = await super().post_populate(t, vm, gfn, folio, content)
        await folio.mapping.invalidate_lock.up_read(t)
        return ret


def test_i36_does_not_mask_the_deadlock_of_a_populate_with_a_shared_lock() -> None:
    program = ScenarioProgram(scenario=loads(_LAUNCH, "launch.toml"), patch=PopulateShared, arch="snp")
    done = run_past_choices(Campaign(program=program, strategy="random", limits=Limits(schedules=60))).search
    assert rules(done) == ["deadlock", "I36"]
    assert done.past == ("I36",)
