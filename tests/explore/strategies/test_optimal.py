"""DPOR runs one execution of each class, on programs whose classes are known or can be counted."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.explore.strategies import dpor, dpor_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gmemsim.engine.op import Footprint
    from gmemsim.explore.strategies.dpor_tree import Coming


def counts() -> Any:
    """The module of the benchmark."""
    spec = spec_from_file_location("dpor_counts", Path(__file__).parents[3] / "bench" / "dpor_counts.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COUNTS = counts()


@pytest.mark.parametrize(
    ("program", "known"), [case[:2] for case in COUNTS.PROGRAMS], ids=lambda case: str(case)[:40]
)
def test_one_execution_a_class_and_none_blocked(program: Any, known: int | None) -> None:
    strategy = COUNTS.executions(program)
    assert strategy.schedules == (COUNTS.traces(program) if known is None else known)
    assert not strategy.blocked


def test_whoever_sleeps_and_has_no_part_in_a_run_may_come_first_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the weak initials, executions are begun that repeat others."""
    covered = dpor_tree.covered

    def narrower(asleep: Mapping[int, Footprint], steps: Sequence[Coming]) -> bool:
        tasks = {step.task for step in steps}
        return covered({task: footprint for task, footprint in asleep.items() if task in tasks}, steps)

    monkeypatch.setattr(dpor, "covered", narrower)
    strategy = COUNTS.executions(COUNTS.lastzero(5))
    assert strategy.blocked
    assert strategy.schedules - strategy.blocked == 64
