"""Taking events down while the model runs: one list operation an event, everything else later.

A `Recorder`'s `rec` is what the engine calls as `rec(task, event)`. It keeps time, actor and event side by
side in one flat list, so that a long run leaves no tuples behind for the garbage collector to visit
(measured: half the cost of a list of tuples). With a sink, entries go there in batches and are not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol

from .base import Event
from .vocabulary import name_of

#: What a recorder takes down: virtual ns, name of the actor, event.
Entry = tuple[int, str, Event]
#: What the engine calls for every event.
Rec = Callable[["Actor", Any], None]
#: What a streaming recorder hands its batches to.
Sink = Callable[[list[Entry]], object]


class Clock(Protocol):
    """Where the virtual time comes from."""

    @property
    def now(self) -> int: ...


class Actor(Protocol):
    """What a recorder needs to know of the task that an event comes from."""

    @property
    def name(self) -> str: ...

    @property
    def engine(self) -> Clock: ...


class Recorder:
    """Entries `(t, actor, event)` of one run, in the order in which they happened.

    Iterating gives the entries that are still here: all of them, or with a sink those since the last flush.
    As a context manager it flushes on the way out, whatever happened inside.

    Args:
        sink: gets batches of entries, in order; what it raises goes through to the model.
        every: size of a batch.

    Attributes:
        rec: the callable for the engine.
    """

    __slots__ = ("_every", "_flat", "_flushed", "_flushed_counts", "_sink", "rec")

    rec: Rec

    def __init__(self, sink: Sink | None = None, every: int = 4096) -> None:
        if every < 1:
            raise ValueError(f"every: expected 1 or more events, got {every}")
        self._flat: list[Any] = []
        self._sink = sink
        self._every = every
        self._flushed = 0
        self._flushed_counts: Counter[type[Event]] = Counter()
        self.rec = self._keeping() if sink is None else self._streaming()

    # Closures: reading a local of the enclosing function is cheaper than an attribute of self.

    def _keeping(self) -> Rec:
        extend = self._flat.extend

        def rec(task: Actor, event: Any) -> None:
            extend((task.engine.now, task.name, event))

        return rec

    def _streaming(self) -> Rec:
        flat = self._flat
        extend = flat.extend
        flush = self.flush
        full = 3 * self._every

        def rec(task: Actor, event: Any) -> None:
            extend((task.engine.now, task.name, event))
            if len(flat) >= full:
                flush()

        return rec

    def flush(self) -> None:
        """Hand everything to the sink; does nothing without one."""
        flat = self._flat
        if self._sink is None or not flat:
            return
        batch = list(self)
        self._flushed += len(batch)
        self._flushed_counts.update(map(type, flat[2::3]))
        # Emptied first: a sink that fails is not given the same entries again by the flush on the way out.
        flat.clear()
        self._sink(batch)

    def __iter__(self) -> Iterator[Entry]:
        flat = iter(self._flat)
        return zip(flat, flat, flat, strict=True)

    def __len__(self) -> int:
        """Events recorded so far, flushed ones included."""
        return self._flushed + len(self._flat) // 3

    def counts(self) -> dict[str, int]:
        """Number of events by name, in alphabetical order, flushed ones included."""
        classes = self._flushed_counts + Counter(map(type, self._flat[2::3]))
        return dict(sorted((name_of(cls), count) for cls, count in classes.items()))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()


def fan_out(*recs: Rec | None) -> Rec | None:
    """One callable that passes each event to all of `recs`, in order; None entries are left out.

    Put the recorder before the checkers: when a checker raises, the event that it objects to is in the log.
    Returns None if nothing is left, which switches recording off.
    """
    kept = tuple(rec for rec in recs if rec is not None)
    if not kept:
        return None
    if len(kept) == 1:
        return kept[0]
    if len(kept) == 2:
        first, second = kept

        def both(task: Actor, event: Any) -> None:
            first(task, event)
            second(task, event)

        return both

    def each(task: Actor, event: Any) -> None:
        for rec in kept:
            rec(task, event)

    return each
