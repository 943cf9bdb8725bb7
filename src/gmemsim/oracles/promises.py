"""What an rw-semaphore promises of its state, after every step of a run (rwsem.md 8): rule `rwsem_promise`.

A wait that ends late is no deadlock, and a run in which it ends looks sound. The promises are about single states,
so that such a wait breaks one while it lasts: readers who sleep at the head while only readers hold the lock (C8), a
free lock whose head nobody wakes (P4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.locks.rwsem_core import RwSemCore
from ..engine.locks.rwsem_fine_core import FineCore
from ..engine.locks.rwsem_invariants import violations
from .violation import Violation

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.task import Task


def watch_promises(engine: Engine, lock: object) -> None:
    """Have every step on `engine` checked, if `lock` is an rw-semaphore; a promise that breaks ends the run."""
    if not isinstance(lock, (RwSemCore, FineCore)):
        return

    def look(t: Task) -> None:
        broken = violations(lock)
        if broken:
            raise Violation("rwsem_promise", broken[0], t.name, call=t.call, now=t.engine.now)

    engine.watch_steps(look)
