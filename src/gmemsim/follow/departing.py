"""An attempt that departs from the rules where it is told to, and says where else it could have.

The rules of `attempt` place each unobserved step; a departure places one of them otherwise. Only the order of steps
that touch the same object can matter, so the places worth departing from are the races of a failed attempt: two such
steps of different threads that no event of the trace puts in order (as in Flanagan and Godefroid's partial-order
reduction, POPL 2005).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.op import dependent
from .attempt import Attempt
from .thread import next_position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.op import Op
    from .attempt import How
    from .thread import Thread
    from .trace import Step

#: How many chances to be taken a step may let go by: one a change of what it reads.
_CHANCES: Final = (1, 2, 1000)
#: Steps of the failing thread, of those before a step that conflict with it, and of those looked through for them.
_NEAR: Final = 24
_BEFORE: Final = 8
_BACK: Final = 512
#: Steps of another thread that can be asked to come first.
_AHEAD: Final = 6
#: What an attempt keeps of its latest steps.
_KEPT: Final = 1 << 15


class Departure(NamedTuple):
    """One step placed otherwise than the rules would.

    Attributes:
        kind: `later`: a read lets `amount` chances go by; `first`: before it, `other` takes its steps up to `amount`;
            `anyway`: it is taken although its outcome is not what the thread's future asks for.
        thread, taken: the step: how many the thread took before it.
    """

    kind: str
    thread: str
    taken: int
    other: str = ""
    amount: int = 0


class _Taken(NamedTuple):
    """A step of the log.

    Attributes:
        since, at: where its thread showed something before it, and where it was taken: positions in the trace.
        early: it was taken before an event of its own thread asked for it.
    """

    thread: Thread
    taken: int
    op: Op
    since: int
    at: int
    early: bool


class Departing(Attempt):
    """One attempt with departures."""

    def __init__(self, how: How) -> None:
        super().__init__(how)
        self._later: dict[tuple[str, int], int] = {}
        self._first: dict[tuple[str, int], list[tuple[str, int]]] = {}
        self._anyway: set[tuple[str, int]] = set()
        self._log: deque[_Taken] = deque(maxlen=_KEPT)
        self._shown: dict[str, int] = {}
        #: The thread whose event is due.
        self._due: Thread | None = None

    def depart(self, departures: Iterable[Departure]) -> None:
        """Heed these from now on."""
        for kind, thread, taken, other, amount in departures:
            key = (thread, taken)
            if kind == "later":
                self._later[key] = amount
            elif kind == "first":
                self._first.setdefault(key, []).append((other, amount))
            else:
                self._anyway.add(key)

    # -- the rules, departed from ----------------------------------------------------------------

    def step(self, thread: Thread) -> None:
        """Take a step, after those that are to come first."""
        key = (thread.name, thread.taken)
        for name, amount in self._first.pop(key, ()):
            other = self.threads[name]
            while other.taken <= amount and not other.shown and not other.task.done:
                pending = other.task.pending
                if (pending.kind == "call" and not self._begins(other)) or not self.outcomes.ready(
                    other, pending
                )[0]:
                    break
                self.step(other)
            op = thread.task.pending
            if thread.taken != key[1] or (op.kind == "acquire" and not self.outcomes.ready(thread, op)[0]):
                # It was let go on by what came first, or that has the lock now.
                return
        since = self._shown.get(thread.name, -1)
        early = thread is not self._due
        self._log.append(_Taken(thread, thread.taken, thread.task.pending, since, self.position, early))
        super().step(thread)

    def _begins(self, other: Thread) -> bool:
        return other.call is None and self._converts_unseen(other)

    def eager(self, thread: Thread) -> None:
        key = (thread.name, thread.taken)
        left = self._later.get(key, 0)
        if left and not thread.shown and not thread.task.done:
            op = thread.task.pending
            if self.outcomes.eager(thread, op):
                self._later[key] = left - 1
                for obj in self.outcomes.depends_on(op):
                    waiting = self.waiting.setdefault(obj, [])
                    if thread not in waiting:
                        waiting.append(thread)
                return
        super().eager(thread)

    def _run(self, thread: Thread, step: Step) -> None:
        self._due = thread
        pending = thread.task.pending
        # A lock that somebody has is not taken, whatever follows from its outcome, and a sleep is slept to its end.
        free = pending.kind not in ("acquire", "wait") or self.outcomes.ready(thread, pending)[0]
        if (thread.name, thread.taken) in self._anyway and free and not thread.task.done:
            self.step(thread)
        else:
            super()._run(thread, step)
        self._due = None

    def _take(self, thread: Thread, step: Step) -> None:
        super()._take(thread, step)
        self._shown[thread.name] = step.position

    def _may_move(self, other: Thread) -> bool:
        key = (other.name, other.taken)
        left = self._later.get(key, 0)
        if left and super()._may_move(other):
            self._later[key] = left - 1
            return False
        return super()._may_move(other)

    # -- where else --------------------------------------------------------------------------------

    def forget(self) -> None:
        """What was taken so far is not departed from."""
        self._log.clear()

    def trail(self) -> int:
        """A number for the order of all steps that conflict: attempts with the same one are in the same state."""
        last: dict[str, list[tuple[str, int]]] = {}
        for entry in self._log:
            last.setdefault(entry.op.obj, []).append((entry.thread.name, entry.taken))
        return hash((self.place, tuple(sorted((obj, tuple(order)) for obj, order in last.items()))))

    def alternatives(self, failing: Thread) -> list[Departure]:
        """Departures that could change what the attempt failed at, the nearest first."""
        found: dict[Departure, None] = {}
        mine = [entry for entry in self._log if entry.thread is failing]
        touched = [entry.op for entry in mine[-_NEAR:]]
        if not failing.task.done:
            pending = failing.task.pending
            touched.append(pending)
            if pending.kind != "call" and not self.outcomes.ready(failing, pending)[0]:
                found[Departure("anyway", failing.name, failing.taken)] = None
            self._let_first(found, failing, failing.taken, pending)
        for entry in reversed(mine[-_NEAR:]):
            self._let_first(found, failing, entry.taken, entry.op)
        # First those of the failing thread itself on what it touched last, then those on that, then all others.
        ranked: tuple[list[Departure], ...] = ([], [], [])
        for departure, op in self._races():
            near = any(_same(op, other) for other in touched)
            own = failing.name in (departure.thread, departure.other)
            ranked[0 if near and own else 1 if near else 2].append(departure)
        for departures in ranked:
            found.update(dict.fromkeys(departures))
        return list(found)

    def _let_first(self, found: dict[Departure, None], thread: Thread, taken: int, op: Op) -> None:
        """Whoever is about to touch the same object may do so first, with all that it does before."""
        for other in self.threads.values():
            if other is thread or other.shown or other.task.done:
                continue
            if (other.call is None and not self._begins(other)) or next_position(other) < self.position:
                continue
            amounts = (
                (0, 1, 2, _AHEAD) if taken == thread.taken else (0,) if _same(other.task.pending, op) else ()
            )
            for more in amounts:
                found[Departure("first", thread.name, taken, other.name, other.taken + more)] = None

    def _races(self) -> Iterable[tuple[Departure, Op]]:
        """Two steps of different threads that no event puts in order, the latest first, and the object."""
        by_object: dict[str, list[_Taken]] = {}
        for entry in self._log:
            by_object.setdefault(entry.op.obj, []).append(entry)
        places = {obj: len(entries) for obj, entries in by_object.items()}
        for late in reversed(self._log):
            entries = by_object[late.op.obj]
            places[late.op.obj] = place = places[late.op.obj] - 1
            left = _BEFORE
            for early in reversed(entries[max(0, place - _BACK) : place]):
                if early.thread is late.thread or not dependent(early.op, late.op):
                    continue
                left -= 1
                if left < 0:
                    break
                if late.since <= early.at:
                    name, taken = early.thread.name, early.taken
                    yield Departure("first", name, taken, late.thread.name, late.taken), late.op
                if early.early:
                    for amount in _CHANCES:
                        yield Departure("later", early.thread.name, early.taken, "", amount), late.op


def _same(one: Op, other: Op) -> bool:
    return one.obj == other.obj and one.lo < other.hi and other.lo < one.hi
