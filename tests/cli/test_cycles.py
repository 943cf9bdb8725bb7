"""What is said of cycles of the lock-order graph: infeasible only after every schedule was tried and nothing found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gmemsim.cli.explore import _decide


@pytest.mark.parametrize(
    ("complete", "found", "bound", "verdict"),
    [
        (True, False, "", "infeasible within the bound"),
        (True, False, "at most 2 preemptions", "potential"),
        (False, False, "", "potential"),
        (True, True, "", "potential"),
        (False, True, "", "potential"),
    ],
)
def test_a_cycle_is_infeasible_only_if_all_was_tried(
    complete: bool, found: bool, bound: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gmemsim.explore.lock_graph.is_it", lambda failure, cycle: False)
    done = SimpleNamespace(
        complete=complete, found=[SimpleNamespace(failure=None)] * found, states=0, schedules=5, bound=bound
    )
    result: Any = SimpleNamespace(lock_graph=SimpleNamespace(cycles=lambda: ["cycle"]), search=done)
    program: Any = SimpleNamespace(name="p")
    budget: Any = SimpleNamespace(over=True, stopped="interrupted")
    [decided] = _decide(program, result, True, 0, budget, print)
    assert decided.verdict == verdict
    # Nobody looked for it: that is said.
    assert decided.interrupted == ("interrupted" if verdict == "potential" else "")
