"""`import gmemsim`: the names that users need, loaded when asked for, and each doing what its command does."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import gmemsim
from gmemsim.audit.vocabulary import name_of
from gmemsim.cli.conform import command as conform
from gmemsim.explore.strategies import complete_first
from gmemsim.explore.strategies.complete_first import CompleteFirst
from gmemsim.follow.ftrace import TraceError
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.testing import ScheduleFailure

if TYPE_CHECKING:
    from gmemsim.actors.vm import Vm

RECORDED = Path(gmemsim.__file__).parent / "scenarios" / "recorded" / "7.2.13" / "sh_same_v2.trace.gz"
FUNCTIONS = [name for name in gmemsim.__all__ if name != "__version__"]


class NoRetry(V3):
    """The map step does not look at the invalidation sequence."""

    def mmu_invalidate_retry_gfn(self, vm: Vm, seq: int, gfn: int) -> bool:
        return False


def test_importing_loads_nothing() -> None:
    code = "import sys, gmemsim; dir(gmemsim); print([m for m in sys.modules if m.startswith('gmemsim.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_name_is_there_documented_and_listed(name: str) -> None:
    function = getattr(gmemsim, name)
    assert callable(function)
    assert name in dir(gmemsim)
    implemented = getattr(__import__("gmemsim.api", fromlist=["x"]), name)
    assert inspect.getdoc(implemented)
    assert inspect.signature(function) == inspect.signature(implemented)
    assert re.search(rf"^{name} +\S", gmemsim.__doc__ or "", re.MULTILINE)


def test_another_name_is_an_attribute_error() -> None:
    name = "explode"
    with pytest.raises(AttributeError, match="no attribute 'explode'"):
        getattr(gmemsim, name)


@pytest.mark.parametrize("name", ["explore", "follow"])
def test_a_package_stays_a_package_in_whatever_order(name: str) -> None:
    """Asked for before or after it was imported, it is the same thing, and it can be called."""
    for code in (
        f"import gmemsim; f = gmemsim.{name}; import gmemsim.{name}.__init__; assert gmemsim.{name} is f",
        f"from gmemsim.{name} import __name__; import gmemsim; assert callable(gmemsim.{name})",
    ):
        subprocess.run([sys.executable, "-c", code], check=True)
    assert isinstance(getattr(gmemsim, name), ModuleType)


def test_run() -> None:
    ran = gmemsim.run("hole", "v3", log=True, small=True)
    assert ran.violations == ()
    assert {"clear", "inv_start"} <= {name_of(type(event)) for _, event in ran.log}
    assert ran.summary()["virtual_ns"] > 0
    assert gmemsim.run("hole", V3, small=True).log == ()


def test_run_finds() -> None:
    class Deaf(V3):
        async def kvm_gmem_punch_hole(self, *args: Any, **kwargs: Any) -> Any:
            await super().kvm_gmem_punch_hole(*args, **kwargs)
            return -5

    assert {found.rule for found in gmemsim.run("hole", Deaf, small=True).violations} == {
        "unexpected_outcome"
    }


def test_explore_and_replay() -> None:
    explored = gmemsim.explore("hole", NoRetry, strategy="random", schedules=500)
    assert explored.found
    assert not explored.complete
    first = explored.found[0]
    token = explored.token(first)
    again = gmemsim.replay(token, patch=NoRetry)
    assert again.failure is not None
    assert again.failure.rule == first.failure.rule
    assert again.same_failure
    fine = gmemsim.explore("hole", strategy="random", schedules=20)
    assert fine.found == ()
    assert fine.result.search.schedules == 20


def test_check_raises() -> None:
    with pytest.raises(ScheduleFailure):
        gmemsim.check(gmemsim.program("hole", NoRetry), strategy="random", schedules=500)


def test_diff() -> None:
    found = gmemsim.diff("baseline", V3, scenario="hole", seeds=2, small=True)
    assert not found.equal
    assert found.runs == 2
    one, two = (gmemsim.run("hole", "v3", seed=seed, small=True, log=True).log for seed in (1, 1))
    assert gmemsim.diff(one, two).equal
    assert not gmemsim.diff(one, one[:-1]).equal
    assert gmemsim.diff(RECORDED, str(RECORDED)).equal
    with pytest.raises(TypeError, match="patch versions"):
        gmemsim.diff(one, two, scenario="hole")


def test_follow() -> None:
    assert gmemsim.follow(RECORDED).verdict == "accepted"
    assert gmemsim.follow(str(RECORDED), gmemsim.load_patch("baseline")).verdict == "rejected"


def test_follow_says_that_nobody_has_looked_which_version_a_kernel_has(tmp_path: Path) -> None:
    beside = RECORDED.with_name(RECORDED.name.split(".trace")[0] + ".json")
    told = json.loads(beside.read_text(encoding="utf-8"))
    told["uname"] = told["uname"].replace("7.2", "6.19")
    (tmp_path / "other.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(TraceError, match=r"a kernel 6\.19, whose version nobody has looked at: give --patch"):
        gmemsim.follow(RECORDED, metadata=tmp_path / "other.json")
    assert (
        gmemsim.follow(RECORDED, "v3", release="7.2", metadata=tmp_path / "other.json").verdict == "accepted"
    )


def test_conform(tmp_path: Path) -> None:
    embedded = Path(gmemsim.__file__).parent / "scenarios/conform/guest-memfd.jsonl"
    some = tmp_path / "some.jsonl"
    some.write_text("\n".join(embedded.read_text(encoding="utf-8").splitlines()[:3]) + "\n", encoding="utf-8")
    results = gmemsim.conform("v3", vectors=some, arches=["default"])
    assert results
    assert {result.verdict.result for result in results} == {"passed"}


def test_conform_looks_at_as_many_states_as_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    budgets = []

    class Told(CompleteFirst):
        def __init__(self, seed: int, budget: int) -> None:
            super().__init__(seed, budget)
            budgets.append(budget)

    monkeypatch.setattr(complete_first, "CompleteFirst", Told)
    call = {
        "actor": "host",
        "op": "punch_hole",
        "args": {"gmem": "g", "offset": 0, "len": 4096},
        "expect": {"result": "ok"},
    }
    vector = {
        "id": "both",
        "evidence": "derived",
        "applies_to": {"versions": ["v3"], "vm_types": ["default"]},
        "setup": {"gmems": [{"id": "g", "size": 4096}]},
        "steps": [
            {
                "actor": "host",
                "op": "parallel",
                "args": {"branches": [[call], [call]]},
                "expect": {"result": "ok"},
            }
        ],
    }
    some = tmp_path / "some.jsonl"
    some.write_text(json.dumps(vector), encoding="utf-8")
    gmemsim.conform("v3", vectors=some, schedules=2)
    CliRunner().invoke(conform, [str(some), "--schedules", "2"])
    assert budgets == [400, 400]


def test_load_versions_and_findings(tmp_path: Path) -> None:
    assert gmemsim.load("hole").name == "hole"
    assert gmemsim.versions()["v3"] is V3 is gmemsim.load_patch("v3")
    assert "memory-failure-against-punch" in gmemsim.findings()
    with pytest.raises(ScenarioError, match="no such"):
        gmemsim.load("no-such-scenario")


def test_the_page_has_every_name_and_its_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parent.parent / "docs" / "api.md"
    if not page.exists():
        pytest.skip("the pages are in the repository, not in the package")
    text = page.read_text(encoding="utf-8")
    for name in FUNCTIONS:
        assert f"`{name}(" in text, name
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, str(page), "exec"), {"__name__": "page"})
    assert "not complete" in capsys.readouterr().out


def test_a_misspelt_option_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match="no option 'max_schedules'; did you mean schedules"):
        gmemsim.check("hole", max_schedules=20)
