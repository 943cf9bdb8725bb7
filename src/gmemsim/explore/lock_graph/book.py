"""Who holds what, and who asks for what while holding it: read from the events and steps of one run.

Locks tell of themselves in audit events. Three waits have none, and are read from the steps: an SRCU read section and
its grace period, a request to a mailbox, and any other thing that a task parks on. A new folio is born locked; its
insertion into the page cache stands for that.

A trylock waits for nobody, so it is no request; what it took is held all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...audit.events import Contended, Lock, LockRequest, Unlock
from ...audit.kvm_events import PageCacheAdd
from ...engine.locks.kinds import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...engine.op import Op
    from ...engine.task import Task

    #: Called as `ask(task, label, mode)` before the task can have it.
    Ask = Callable[[Task, str, str], None]
    #: Called as `serve(task, label, asked)` when a request is answered: what was asked for in between.
    Serve = Callable[[Task, str, list[tuple[str, str]]], None]

#: Class of what is left without events: read sections of SRCU.
_SRCU: Final = "srcu"


def op_label(op: Op) -> str:
    """Label of the lock that an op is about: a folio's has its index in it."""
    return f"{op.obj}[{op.lo}]" if op.hi == op.lo + 1 else op.obj


class Book:
    """The locks of one run, as they are taken.

    Args:
        ask: told of every request, before it is granted.
        serve: told of every answered mailbox request.
        inodes: the inodes of the run, if it has any.

    Attributes:
        held: by task, label to mode, in order of acquisition.
    """

    def __init__(
        self,
        ask: Ask | None = None,
        serve: Serve | None = None,
        inodes: Callable[[], Iterable[Any]] = tuple,
    ) -> None:
        self.held: dict[Task, dict[str, str]] = {}
        self._ask = ask
        self._serve = serve
        self._inodes = inodes
        self._locks: set[str] = set()
        self._sections: dict[tuple[Task, str], int] = {}
        self._asked: dict[Task, list[tuple[str, str]]] = {}

    def rec(self, t: Task, event: Any) -> None:
        """One audit event."""
        kind = type(event)
        if kind is Lock:
            # Behind a trylock the announced op is a `try`, behind a downgrade the release of the other mode.
            if t.pending.kind in {"acquire", "wait"}:
                self._request(t, event.lock, event.mode)
            self.held.setdefault(t, {})[event.lock] = event.mode
        elif kind is Unlock:
            self._drop(t, event.lock)
        elif kind is LockRequest or kind is Contended:
            self._request(t, event.lock, event.mode)
        elif kind is PageCacheAdd:
            self._born(t, event)

    def step(self, t: Task) -> None:
        """A step is about to be taken; `t.pending` says which."""
        op = t.pending
        kind = op.kind
        if kind in {"acquire", "try"}:
            self._locks.add(op.obj)
        if kind in {"acquire", "release", "wait"} and class_of(op.obj) == _SRCU:
            self._section(t, op)
        elif kind == "call":
            self._request(t, op.obj, "w")
        elif kind == "wake":
            if self._serve is not None:
                self._serve(t, op.obj, self._asked.pop(t, []))
        elif kind == "wait" and op.obj not in self._locks:
            if self.held.get(t):
                self._request(t, op.obj, "w")
            else:
                self._asked.pop(t, None)

    def remembered(self) -> frozenset[tuple[str, frozenset[tuple[str, str, int]]]]:
        """Who holds what, by name of the task: label, mode, and how many SRCU sections deep."""
        found = set()
        for task, locks in self.held.items():
            if locks:
                mine = ((label, mode, self._sections.get((task, label), 0)) for label, mode in locks.items())
                found.add((task.name, frozenset(mine)))
        return frozenset(found)

    def _request(self, t: Task, label: str, mode: str) -> None:
        asked = self._asked.setdefault(t, [])
        if (label, mode) not in asked:
            asked.append((label, mode))
        if self._ask is not None:
            self._ask(t, label, mode)

    def _drop(self, t: Task, label: str) -> None:
        if self.held.get(t, {}).pop(label, None) is not None:
            return
        # A folio is handed to another task now and then, which unlocks it.
        for mine in self.held.values():
            if mine.pop(label, None) is not None:
                return

    def _born(self, t: Task, event: PageCacheAdd) -> None:
        for inode in self._inodes():
            folio = inode.folios.get(event.index)
            if folio is not None and folio.pfn == event.pfn and folio.lock.owner is t:
                self.held.setdefault(t, {})[folio.lock.label] = "w"
                return

    def _section(self, t: Task, op: Op) -> None:
        key = (t, op.obj)
        if op.kind == "wait":
            self._request(t, op.obj, "w")
        elif op.kind == "acquire":
            self._sections[key] = self._sections.get(key, 0) + 1
            self.held.setdefault(t, {}).setdefault(op.obj, "r")
        else:
            self._sections[key] = depth = self._sections.get(key, 1) - 1
            if not depth:
                self.held.get(t, {}).pop(op.obj, None)
