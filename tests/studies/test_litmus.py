"""Litmus tests: the library answers as expected, and what a condition can say."""

from __future__ import annotations

import attrs
import msgspec
import pytest

from gmemsim.explore.observables import check_names
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.replay import replay
from gmemsim.explore.search import Limits
from gmemsim.scenarios.catalogue import find, litmus_names
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.conditions import Condition, ConditionError
from gmemsim.studies.litmus import conditions_of, run_litmus, versions_of

TASKS = frozenset({"vcpu0"})
OBSERVED = {"clear": 1, "prepare": 2, "vcpu0": ["touch=ok"], "first": ["clear", "prepare"], "errors": []}
RACE = """\
[scenario]
name = "race"
summary = "s"
question = "q"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x10000

[[task]]
name = "one"
ops = [{ op = "allocate" }]

[[task]]
name = "two"
ops = [{ op = "punch" }]

[[condition]]
name = "empty in the end"
test = '"gmem0[0]" not in cache'
expect = { v3 = "sometimes" }

[[condition]]
name = "added twice"
test = "page_cache_add > 1"
expect = { v3 = "sometimes" }
"""


def test_there_are_enough_and_huge_folios_are_among_them() -> None:
    assert len(litmus_names()) >= 25
    assert sum("huge" in name for name in litmus_names()) >= 5


@pytest.mark.parametrize("name", litmus_names())
def test_the_answers_are_the_expected_ones(name: str) -> None:
    scenario = find(name)
    versions = versions_of(scenario)
    assert versions
    for patch in versions:
        found = run_litmus(ScenarioProgram(scenario=scenario, patch=patch), Limits(schedules=None))
        assert found.search.complete
        assert [answer for answer in found.answers if not answer.as_expected] == [], patch


def test_witnesses_show_what_they_are_for() -> None:
    program = ScenarioProgram(scenario=loads(RACE, "race.toml"), patch="v3", arch="sw-protected")
    found = run_litmus(program, Limits(schedules=None))
    empty, twice = found.answers
    assert empty.verdict == "sometimes"
    assert empty.as_expected
    assert twice.verdict == "never"
    assert not twice.as_expected
    for token in (empty.meets, empty.breaks):
        assert replay(token).failure is None
    assert empty.meets != empty.breaks
    assert not twice.meets


def test_never_is_not_said_without_a_complete_search() -> None:
    program = ScenarioProgram(scenario=loads(RACE, "race.toml"), patch="v3", arch="sw-protected")
    found = run_litmus(program, Limits(schedules=1))
    assert not found.search.complete
    assert found.answers[1].verdict == "not seen"
    assert "never" not in {answer.verdict for answer in found.answers}
    assert "always" not in {answer.verdict for answer in found.answers}


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ("prepare == 2", True),
        ("1 < prepare <= 2 and not clear > 1", True),
        ('"touch=ok" in vcpu0', True),
        ('"touch=ok" not in vcpu0 or clear == 0', False),
        ("before(clear, prepare)", True),
        ("before(prepare, clear)", False),
        ("before(clear, map)", False),
    ],
)
def test_conditions(test: str, holds: bool) -> None:
    assert Condition(test, TASKS).holds(OBSERVED) is holds


@pytest.mark.parametrize(
    "test",
    [
        "__import__('os')",
        "clear.x",
        "clear[0]",
        "lambda: 1",
        "1 +",
        "clear == prepare",
        "f'{clear}'",
        "(" * 500,
        'vcpu0 == "touch=ok"',
        "vcpu0 > 1",
        'clear == "x"',
        '"touch" in clear',
        "1 in vcpu0",
        '"x" in results',
        "before(vcpu0, clear)",
    ],
)
def test_what_is_no_condition(test: str) -> None:
    with pytest.raises(ConditionError):
        Condition(test, TASKS)


def test_a_condition_says_what_has_to_be_observed_and_how_far() -> None:
    condition = Condition('prepare == 2 and "touch=ok" in vcpu0 and before(clear, map)', TASKS)
    assert condition.names == {"prepare", "results", "clear", "map", "first"}
    assert condition.count_to == 3
    with pytest.raises(ConditionError, match="compares a number with a text"):
        Condition('prepare < "x"', TASKS)


def test_names_are_checked() -> None:
    assert not check_names(frozenset({"results", "map_level2", "lock_mmu_lock_r", "retry_late", "prepare"}))
    assert "'prepares'" in check_names(frozenset({"prepares"}))
    scenario = loads(RACE.replace("page_cache_add > 1", "nothing > 1"), "race.toml")
    with pytest.raises(ConditionError, match="nothing is called 'nothing'"):
        conditions_of(ScenarioProgram(scenario=scenario))


def test_what_no_run_counted_and_may_be_mistyped_is_said() -> None:
    tests = ("lock_invalidat_lock_w > 0", "lock_invalidate_lock_w > 0", "zap > 0", "retry_lat == 0")
    text = RACE.partition("[[condition]]")[0]
    text += "".join(f'[[condition]]\nname = "c"\ntest = "{test}"\n' for test in tests)
    program = ScenarioProgram(scenario=loads(text, "race.toml"), patch="v3", arch="sw-protected")
    notes = [answer.note for answer in run_litmus(program, Limits(schedules=None)).answers]
    assert [bool(note) for note in notes] == [True, False, False, True]
    assert notes[0].startswith("no run counted lock_invalidat_lock_w: ")


def test_what_is_observed_is_part_of_the_state() -> None:
    program = ScenarioProgram(scenario=loads(RACE, "race.toml"), patch="v3", arch="sw-protected")
    less = run_litmus(program, Limits(schedules=None))
    more = run_litmus(attrs.evolve(program), Limits(schedules=None), ["free_page", "truncate", "errors"])
    assert more.search.states >= less.search.states
    assert all('"free_page":' in outcome for outcome in more.outcomes)


def claims(program: ScenarioProgram, limits: Limits | None = None) -> list[tuple[str, bool, bool]]:
    found = run_litmus(program, limits or Limits(schedules=None))
    return [(answer.verdict, answer.as_expected, answer.contradicts) for answer in found.answers]


EXISTS = 'exists = "page_cache_add > {0}"'
FORALL = 'forall = "page_cache_add == {0}"'


def claiming(one: str, two: str) -> ScenarioProgram:
    text = RACE.partition("[[condition]]")[0]
    text += "".join(f'[[condition]]\nname = "c"\n{claim}\n' for claim in (one, two))
    return ScenarioProgram(scenario=loads(text, "race.toml"), patch="v3", arch="sw-protected")


def test_exists_and_forall() -> None:
    right, wrong = (claiming(EXISTS.format(n), FORALL.format(n + 1)) for n in (0, 1))
    assert claims(right) == [("always", True, False), ("always", True, False)]
    assert claims(wrong) == [("never", False, True), ("never", False, True)]
    # One run alone decides that there is one, and not that all are so.
    one = Limits(schedules=1)
    assert claims(right, one) == [("no exception seen", True, False), ("no exception seen", False, False)]
    assert claims(wrong, one) == [("not seen", False, False), ("not seen", False, True)]


@pytest.mark.parametrize("more", ['exists = "map > 0"\n', 'test = ""\n'])
def test_a_condition_is_one_of_three(more: str) -> None:
    text = RACE.replace(
        'test = "page_cache_add > 1"\n', more + ('test = "map > 0"\n' if "exists" in more else "")
    )
    with pytest.raises(ScenarioError, match="expected one of test, exists and forall"):
        loads(text, "race.toml").resolve(small=True)


@pytest.mark.parametrize(
    ("name", "patch", "arch", "pages", "state"),
    [
        ("punched_frame", "v3", "snp", "[0]", ["gmem0[0]=guest_invalid"]),
        ("wasted_clear", "v3", "tdx", "[0]", ["vm0 0x10000=mapped"]),
        ("huge_clear", "hugepage", "sw-protected", "[0-511]", []),
    ],
)
def test_contents_frames_and_arch_state(
    name: str, patch: str, arch: str, pages: str, state: list[str]
) -> None:
    program = ScenarioProgram(scenario=find(f"litmus-{name}"), patch=patch, arch=arch)
    found = run_litmus(program, Limits(schedules=None), ["contents", "frames", "arch"])
    (outcome,) = (msgspec.json.decode(text) for text in found.outcomes)
    assert outcome["contents"] == [f"gmem0{pages}=zero"]
    assert outcome["frames"] == [f"gmem0{pages}=f0", "vm0 0x10000 private=f0"]
    assert outcome["arch"] == state
