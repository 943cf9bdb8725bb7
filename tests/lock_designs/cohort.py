"""A cohort lock: a lock per node under one for all, and who leaves prefers its own node for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .base import Exclusive, Semaphore

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

__all__ = ["CohortLock"]


class _Node:
    def __init__(self, lock: CohortLock, name: str) -> None:
        self.local = Semaphore(lock, name)
        self.owns_global = False
        self.passed = 0


class CohortLock(Exclusive):
    """The global lock stays with a node for at most `passes` hand-overs within it.

    Source: Dice, Marathe and Shavit, "Lock cohorting: a general technique for designing NUMA locks", PPoPP 2012; TOPC
    1(2), 2015. A waiter that gives up is why a hand-over within the node and the test whether anybody waits there are
    one step.
    """

    passes: Final = 2

    def _setup(self) -> None:
        self._global = Semaphore(self, "global")
        self._nodes = [_Node(self, "node0"), _Node(self, "node1")]

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        node = self._nodes[t.ident % 2]
        if not await node.local.down(t, killable):
            return False
        if node.owns_global or await self._global.down(t, killable):
            node.owns_global = True
            return True
        await node.local.up(t)
        return False

    async def _write_unlock(self, t: Task) -> None:
        node = self._nodes[t.ident % 2]
        if node.passed < self.passes:
            node.passed += 1
            if await node.local.hand(t):
                return
        node.passed = 0
        await self._release_global(t, node)
        await node.local.up(t)

    async def _release_global(self, t: Task, node: _Node) -> None:
        node.owns_global = False
        await self._global.up(t)
