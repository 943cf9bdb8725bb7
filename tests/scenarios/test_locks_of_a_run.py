"""The table of locks of a run has each lock that its log has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmemsim.audit.events import Lock
from gmemsim.scenarios.catalogue import find
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.session import build

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def test_mf_mutex() -> None:
    taken = 0

    def rec(t: Task, event: Any) -> None:
        nonlocal taken
        taken += isinstance(event, Lock) and event.lock == "mf_mutex"

    session = build(find("memory_failure"), "v3", "sw-protected", options=Options(rec=rec)).run()
    (row,) = (row for row in session.locks() if row.name == "mf_mutex")
    assert row.write.acquisitions == taken > 0


def test_sessions_keep_their_locks_apart() -> None:
    one, two = (build(find("memory_failure"), "v3", "sw-protected") for _ in range(2))
    one.run()
    assert [row.name for row in two.locks()] == []
    two.run()
    assert one.locks() == two.locks()
