"""Why nobody can go on: who waits for what, in which mode, behind whom; and whether that is a cycle at all.

A run that stops with tasks asleep is one of three things, and the reader needs to know which:

* a *cycle*: every task in it waits for a lock that the next one holds, or stands in front of it for. The queue counts:
  a reader behind a queued writer waits for the writer, even where a reader holds the lock (rwsem.md R3, M4);
* a *lost wake-up*: the lock is free, or the mailbox full, and the task sleeps all the same;
* *nobody's turn*: it waits for what no task is bound to do (a barrier that one party never reaches).

Everything is read from the locks themselves, so a run pays nothing for it. They do not know at which step they were
taken; a `report` that replays the run adds that.

The engine gives up when nobody can run. A cycle is closed before that, if somebody outside of it can still go on, or
spins for ever on what one of its tasks was to do; `Cycles` looks for one whenever a task has gone to sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from ...engine.errors import Deadlock
from ...engine.locks.spinlock import QueuedRwLock, SpinLock
from ...engine.locks.srcu import Srcu
from ...engine.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ...engine.engine import Engine
    from ...engine.op import Mode
    from ...engine.task import Task

Stuck = Literal["cycle", "lost_wakeup", "unowned"]


@attrs.frozen
class Holder:
    """A task that has the lock, in mode `r` or `w`."""

    task: str
    mode: Mode


@attrs.frozen
class Waiting:
    """A queue entry, head first in `WaitFor.queues`."""

    task: str
    mode: Mode


@attrs.frozen
class WaitEdge:
    """One reason why a task does not go on.

    Attributes:
        task: who waits.
        on: label of what it waits for.
        mode: in which it wants it.
        behind: the task that stands in the way.
        as_holder: that task holds it; else it is only queued in front.
        behind_mode: in which mode.
    """

    task: str
    on: str
    mode: Mode
    behind: str
    as_holder: bool
    behind_mode: Mode


@attrs.frozen(kw_only=True)
class WaitFor:
    """The wait-for graph of a run that cannot go on.

    Attributes:
        kind: what it is; a cycle is looked for first.
        cycle: its edges, each behind the task of the next; empty if there is none.
        lost: tasks that sleep although nothing stands in their way, with what they sleep on.
        edges: all of them, in task order.
        holders, queues: by label, of everything that somebody waits for.
    """

    kind: Stuck
    cycle: tuple[WaitEdge, ...]
    lost: tuple[tuple[str, str], ...]
    edges: tuple[WaitEdge, ...]
    holders: Mapping[str, tuple[Holder, ...]]
    queues: Mapping[str, tuple[Waiting, ...]]

    def text(self) -> str:
        """In words, one line a task."""
        lines = []
        for edge in self.cycle or self.edges:
            how = "holds" if edge.as_holder else "is queued in front for"
            lines.append(
                f"{edge.task} waits for {edge.on} ({edge.mode}), which {edge.behind} {how} ({edge.behind_mode})"
            )
        lines += [f"{task} sleeps on {on}, and nothing stands in its way" for task, on in self.lost]
        return "; ".join(lines)


class Cycles:
    """Ends a run as soon as some of its tasks wait for each other, whatever the others do.

    A wait that a signal can end is no part of a cycle here: only when nobody can run is it known that none will come.
    """

    def attach(self, engine: Engine) -> None:
        """Look at a run that is about to start."""
        self._last: Task | None = None
        engine.watch_steps(self._step)

    def _step(self, t: Task) -> None:
        # Only the task that took the last step can have closed a cycle.
        last, self._last = self._last, t
        if last is None or last.parked_on is None:
            return
        blocked = [task for task in t.engine.blocked() if not task.interruptible]
        if last in blocked and len(blocked) > 1 and wait_for(blocked).kind == "cycle":
            raise Deadlock(blocked)


def wait_for(blocked: Sequence[Task]) -> WaitFor:
    """Analyse the tasks that are blocked now (`engine.errors.Deadlock.tasks`)."""
    edges: list[WaitEdge] = []
    lost: list[tuple[str, str]] = []
    holders: dict[str, tuple[Holder, ...]] = {}
    queues: dict[str, tuple[Waiting, ...]] = {}
    for task in blocked:
        on = _object(task.parked_on)
        if on is None:
            continue
        label = on.label
        if label not in holders:
            holders[label] = tuple(_holders(on, blocked))
            queues[label] = tuple(_queue(on, blocked))
        mine = _edges(task, on, label, holders[label], queues[label])
        edges += mine
        if not mine and _could_go_on(on, task):
            lost.append((task.name, label))
    cycle = _cycle(edges)
    kind: Stuck = "cycle" if cycle else "lost_wakeup" if lost else "unowned"
    return WaitFor(
        kind=kind, cycle=cycle, lost=tuple(lost), edges=tuple(edges), holders=holders, queues=queues
    )


def _object(on: Any) -> Any:
    """The lock itself where a task is parked on part of one (the spinners' queue of a semaphore)."""
    return getattr(on, "_lock", on)


def _edges(
    task: Task, on: Any, label: str, holders: tuple[Holder, ...], queue: tuple[Waiting, ...]
) -> list[WaitEdge]:
    mode = next((entry.mode for entry in queue if entry.task == task.name), _wanted(task))
    found = [
        WaitEdge(task.name, label, mode, holder.task, True, holder.mode)
        for holder in holders
        # Whose message is being served waits for the one who serves it, and not for itself.
        if _conflict(mode, holder.mode) and not (isinstance(on, Mailbox) and holder.task == task.name)
    ]
    for entry in queue:
        if entry.task == task.name:
            break
        if _conflict(mode, entry.mode):
            found.append(WaitEdge(task.name, label, mode, entry.task, False, entry.mode))
    if _free(on, holders):
        # Nobody has it: to be queued behind somebody who could take it is no reason of its own.
        return [edge for edge in found if edge.as_holder]
    return found


def _conflict(one: Mode, other: Mode) -> bool:
    return "w" in (one, other)


def _free(on: Any, holders: tuple[Holder, ...]) -> bool:
    return not holders and not isinstance(on, (Srcu, Mailbox))


def _wanted(task: Task) -> Mode:
    return "w" if task.pending.mode == "w" else "r"


def _holders(on: Any, tasks: Sequence[Task]) -> Iterable[Holder]:
    by_name = {task.name: task for task in tasks}
    for name in on.holders():
        task = by_name.get(name) or _anyone(tasks, name)
        yield Holder(name, _held_mode(on, task))


def _anyone(tasks: Sequence[Task], name: str) -> Task | None:
    """A holder need not be asleep: it may have ended with the lock in its hands."""
    return next((task for task in tasks[0].engine.tasks if task.name == name), None)


def _held_mode(on: Any, task: Task | None) -> Mode:
    if isinstance(on, Srcu):
        return "r"
    if isinstance(on, QueuedRwLock):
        return "w" if on.writer is task else "r"
    held = getattr(on, "write_held", None)
    return "w" if held is None or held(task) else "r"


def _queue(on: Any, tasks: Sequence[Task]) -> Iterable[Waiting]:
    by_name = {task.name: task for task in tasks}
    if isinstance(on, QueuedRwLock):
        # Its waiters announce one op for both modes, so only the queue knows.
        return [Waiting(task.name, mode) for task, mode in on._queue]
    statistics = getattr(on, "statistics", None)
    if statistics is not None:
        names: Iterable[str] = statistics().waiters
    else:
        # A page has no room for a queue: that of a folio lock is kept by its class.
        waiters = getattr(getattr(on, "cls", None), "waiters", None)
        names = [task.name for task, _ in waiters.get(on, ())] if isinstance(waiters, dict) else ()
    return [Waiting(name, _wanted(by_name[name])) for name in names if name in by_name]


def _could_go_on(on: Any, task: Task) -> bool:
    """Whether what `task` sleeps on is there for the taking."""
    ready = getattr(on, "ready", None)
    if ready is not None:
        return bool(ready(task))
    if isinstance(on, Mailbox):
        # The owner sleeps while there is mail. A sender whose message was lost waits for nobody in particular.
        return len(on) > 0 and on._owner is task
    # Whoever has a queue and no holder lets its head in; a thing without one (a barrier) opens when it likes.
    is_lock = isinstance(on, (QueuedRwLock, SpinLock)) or hasattr(on, "cls")
    return is_lock and not tuple(on.holders())


def _cycle(edges: Sequence[WaitEdge]) -> tuple[WaitEdge, ...]:
    """A cycle with the fewest tasks, and among those the first in task order."""
    out: dict[str, list[WaitEdge]] = {}
    for edge in edges:
        out.setdefault(edge.task, []).append(edge)
    best: tuple[WaitEdge, ...] = ()
    for start, first in out.items():
        # Breadth first from each task gives the shortest way back to it.
        ways: list[tuple[WaitEdge, ...]] = [(edge,) for edge in first]
        seen = {start}
        while ways:
            way = ways.pop(0)
            at = way[-1].behind
            if at == start:
                if not best or len(way) < len(best):
                    best = way
                break
            if at in seen:
                continue
            seen.add(at)
            ways += [(*way, edge) for edge in out.get(at, ())]
    return best
