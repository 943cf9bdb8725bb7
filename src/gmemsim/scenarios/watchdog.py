"""The end of a timed run that would not end by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.errors import Deadlock
from .errors import TimeLimit

if TYPE_CHECKING:
    from ..engine.task import Task

__all__ = ["watch"]

#: How often the watchdog looks, as a share of its limit.
_LOOKS: Final = 1000


async def watch(t: Task, limit: int) -> None:
    """Body of a daemon that lets no run take more than `limit` virtual ns.

    Raises:
        TimeLimit: the run is at its limit.
        Deadlock: nobody but the watchdog can run. Its own timer would hide that from the engine.
    """
    engine = t.engine
    pause = max(limit // _LOOKS, 1)
    while engine.now < limit:
        await t.sleep(pause)
        if all(task is t or task.done or task.parked_on is not None for task in engine.tasks):
            raise Deadlock(engine.blocked())
    raise TimeLimit(limit)
