"""The end of a timed run that would not end by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.errors import Deadlock
from .counting import Progress
from .errors import Livelock, TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.task import Task

#: How often the watchdog looks, as a share of its limit.
_LOOKS: Final = 1000
#: Virtual ns between two looks at most.
_PAUSE: Final = 1_000_000
#: Events, which take seconds, of faults that are tried again and of locks, and nothing else.
_ROUNDS: Final = 200_000
#: Events in which no page is touched, added, removed or filled: more than any call of a GiB has.
_NO_PAGE: Final = 10_000_000


#: Times that some task was put off in virtual time, with nothing told beside locks and faults that are tried again.
_PUT_OFF: Final = 1_000_000


async def watch(t: Task, limit: int, progress: Callable[[], Progress] | None = None) -> None:
    """Body of a daemon that lets no run take more than `limit` virtual ns.

    Args:
        progress: how far the run is, beside the ends of calls; None: nobody can tell.

    Raises:
        TimeLimit: the run is at its limit.
        Livelock: it gets nowhere, and would do so for hours before that.
        Deadlock: nobody but the watchdog can run. Its own timer would hide that from the engine.
    """
    engine = t.engine
    pause = max(min(limit // _LOOKS, _PAUSE), 1)
    calls: object = None
    rounds = pages = Progress(0, 0, 0)
    since = put_off = 0
    while engine.now < limit:
        await t.sleep(pause)
        if progress is not None:
            now = progress()
            ended = [(task.call, task.done) for task in engine.tasks]
            if ended != calls:
                calls, rounds, pages, since, put_off = ended, now, now, engine.now, engine.sequence
            if now.beside != rounds.beside:
                rounds, put_off = now, engine.sequence
            if now.pages != pages.pages:
                pages, since = now, engine.now
            round_and_round = now.events - rounds.events > _ROUNDS or engine.sequence - put_off > _PUT_OFF
            if round_and_round or now.events - pages.events > _NO_PAGE:
                raise Livelock(
                    [
                        task.name
                        for task in engine.tasks
                        if task is not t and not task.done and task.parked_on is None
                    ],
                    engine.now - since,
                )
        if all(task is t or task.done or task.parked_on is not None for task in engine.tasks):
            raise Deadlock(engine.blocked())
    raise TimeLimit(limit)
