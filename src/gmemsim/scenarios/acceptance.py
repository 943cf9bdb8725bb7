"""The guest's own record of which private pages it has made usable (Linux: the unaccepted-memory bitmap).

Hardware wants every private page accepted exactly once before it is used: a second PVALIDATE is an attack's
signature, and a TD that touches a pending page is killed. So vCPUs that meet on a page let one of them do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.observed import announces, by_key
from ..engine.op import Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.task import Task


@announces(
    done=by_key(lambda acceptance: acceptance.label),
    _busy=by_key(lambda acceptance: acceptance.label),
)
class Acceptance:
    """Pages of one VM.

    Attributes:
        done: guest frames that were accepted.
    """

    __slots__ = ("_busy", "done", "label")

    def __init__(self, vm: str) -> None:
        self.label = f"{vm}.acceptance"
        self.done: set[int] = set()
        self._busy: dict[int, tuple[str, list[Task]]] = {}

    def holders(self) -> Iterable[str]:
        return tuple(name for name, _waiting in self._busy.values())

    async def claim(self, t: Task, gfn: int, again: bool) -> bool:
        """Whether `t` is to accept the page and then `settle` it; False: somebody else has, look again.

        `again`: the page was accepted before, and hardware says that it is not any more.
        """
        if t.traps:
            await t.point(Op("rmw", self.label, gfn, gfn + 1))
        busy = self._busy.get(gfn)
        if busy is not None:
            busy[1].append(t)
            await t.park(self, Op("wait", self.label, gfn, gfn + 1))
            return False
        if gfn in self.done and not again:
            return False
        self._busy[gfn] = (t.name, [])
        return True

    async def claim_all(self, t: Task, start: int, end: int) -> bool:
        """Whether `t` is to accept all of [start, end) at once and then `settle` each: nobody has, or is at it."""
        if t.traps:
            await t.point(Op("rmw", self.label, start, end))
        gfns = range(start, end)
        if any(gfn in self.done or gfn in self._busy for gfn in gfns):
            return False
        for gfn in gfns:
            self._busy[gfn] = (t.name, [])
        return True

    def settle(self, t: Task, gfn: int, accepted: bool) -> None:
        """The claim on the page is over."""
        if accepted:
            self.done.add(gfn)
        else:
            self.done.discard(gfn)
        for task in self._busy.pop(gfn)[1]:
            t.engine.wake(task)
