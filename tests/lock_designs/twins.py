"""Designs with one line wrong, to prove that the search which finds nothing in the designs would find something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from .cohort import CohortLock
from .counting import AnnouncedWriter, IntentLock
from .distributed import BigReader, Bravo, WriterFirstIndicators
from .futexes import FutexMutex, FutexRwLock
from .policies import BoundedOvertaking
from .queues import ClhLock, McsLock
from .registry import DESIGNS, LockDesign
from .semaphores import CourtoisReaders
from .seqlock import SeqLock
from .spinning import Bakery, QueuedRwWord
from .ticket import TicketLock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gmemsim.engine.task import Task

__all__ = ["TWINS", "Twin"]


class ForgetsTheCount(CourtoisReaders):
    """A first reader that gives up stays on the count."""

    def _give_up(self) -> None:
        pass


class ServesWhoIsGone(TicketLock):
    """A ticket that was given up is served like any other."""

    def _following(self, word: Any) -> Any:
        return attrs.evolve(word, serving=word.serving + 1)


class DoesNotAwaitTheLink(McsLock):
    """A release that finds no next node leaves it at that, although somebody has swapped the tail."""

    async def _await_link(self, t: Task, node: Any) -> None:
        pass


class TakesLeavingForFree(ClhLock):
    """A node before one's own that was given up counts as a release."""

    def _mine(self, state: object) -> bool:
        return state != "waiting"


class DoesNotAwaitTheChoice(Bakery):
    """Numbers are compared with those of tasks that have not chosen yet."""

    async def _has_chosen(self, t: Task, i: int) -> None:
        pass


class KeepsItsReader(QueuedRwWord):
    """A reader that found a writer queues without taking itself off the count."""

    async def _step_back(self, t: Task) -> None:
        pass


class GivesUpWhenWoken(FutexMutex):
    """A signal ends the wait also of who was woken, and the wake-up is lost."""

    async def _sleep(self, t: Task, killable: bool) -> bool:
        return await super()._sleep(t, killable) and not (killable and t.signalled())


class BelievesInItsWriter(FutexRwLock):
    """A release that wakes no writer does not go on to the readers."""

    async def _wake_writer(self, t: Task) -> bool:
        await super()._wake_writer(t)
        return True


class AnyReaderIsTheLast(AnnouncedWriter):
    """Every reader that leaves lets the writer in."""

    async def _announced(self, t: Task) -> None:
        await self._to_leave.rmw(t, lambda v: v - 1)
        await self._writer_sem.up(t)


class KeepsItsClaim(IntentLock):
    """A writer that gives up takes back its intent and not its claim."""

    async def _take_back(self, t: Task) -> None:
        await self._word.rmw(t, lambda w: attrs.evolve(w, intent=False))


class NoOrderOfCpus(BigReader):
    """Every other writer takes the locks the other way round."""

    def _order(self, t: Task) -> Iterable[int]:
        return super()._order(t) if t.ident % 2 else reversed(range(len(self._locks)))


class CountsDepartures(WriterFirstIndicators):
    """A writer waits for as many departures as it found arrivals; who steps back is taken for who was inside."""

    async def _readers_gone(self, t: Task, killable: bool) -> bool:
        for came, left in zip(self._came, self._left, strict=True):
            if not await left.until(t, (await came.load(t)).__le__, killable):
                return False
        return True


class LooksOnce(Bravo):
    """A reader does not look at the bias again after it has entered the table."""

    async def _still_biased(self, t: Task) -> bool:
        return True


class KeepsTheGlobalLock(CohortLock):
    """A node that gives the global lock away still believes that it has it."""

    async def _release_global(self, t: Task, node: Any) -> None:
        await self._global.up(t)


class DoesNotCount(BoundedOvertaking):
    """Readers pass as often as they like."""

    def _count(self) -> None:
        pass


class ReadsOnce(SeqLock):
    """A reader does not look whether a writer was about."""

    async def retry(self, t: Task, start: int) -> bool:
        await super().retry(t, start)
        return False


@attrs.frozen
class Twin:
    """A design with one line wrong, and the rules that may say so."""

    design: LockDesign
    rules: frozenset[str]


def _twin(name: str, lock: Any, rules: str) -> Twin:
    return Twin(attrs.evolve(DESIGNS[name], name=lock.__name__, lock=lock), frozenset(rules.split()))


_INSIDE: Final = "crash"  # an assertion of the lab
_STUCK: Final = "deadlock lost_wakeup"

#: By the name of the design.
TWINS: Final = {
    "courtois-readers": _twin("courtois-readers", ForgetsTheCount, _INSIDE),
    "ticket": _twin("ticket", ServesWhoIsGone, _STUCK),
    "mcs": _twin("mcs", DoesNotAwaitTheLink, _STUCK),
    "clh": _twin("clh", TakesLeavingForFree, f"{_INSIDE} {_STUCK} bounded_waiting"),
    "bakery": _twin("bakery", DoesNotAwaitTheChoice, _INSIDE),
    "qrwlock-word": _twin("qrwlock-word", KeepsItsReader, _STUCK),
    "futex-mutex": _twin("futex-mutex", GivesUpWhenWoken, _STUCK),
    "futex-rwlock": _twin("futex-rwlock", BelievesInItsWriter, _STUCK),
    "announced-writer": _twin("announced-writer", AnyReaderIsTheLast, _INSIDE),
    "intent": _twin("intent", KeepsItsClaim, _STUCK),
    "big-reader": _twin("big-reader", NoOrderOfCpus, _STUCK),
    "c-rw-wp": _twin("c-rw-wp", CountsDepartures, _INSIDE),
    "bravo": _twin("bravo", LooksOnce, _INSIDE),
    "cohort": _twin("cohort", KeepsTheGlobalLock, _INSIDE),
    "bounded-overtaking": _twin("bounded-overtaking", DoesNotCount, "bounded_waiting"),
    "seqlock": _twin("seqlock", ReadsOnce, _INSIDE),
}
