"""Queue locks: each waiter watches a word of its own or of the one before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Exclusive, Watched

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

__all__ = ["ClhLock", "McsLock"]


class _McsNode:
    def __init__(self, lock: McsLock, t: Task) -> None:
        self.state = Watched(lock, f"{t.name}.state", "waiting")
        self.next: Watched[_McsNode | None] = Watched(lock, f"{t.name}.next", None)


class McsLock(Exclusive):
    """A list of nodes; the owner hands over to the next, and takes nodes out that were given up.

    Source: Mellor-Crummey and Scott, TOCS 9(1), 1991; giving up as in MCS-TP, He, Scherer and Scott, "Preemption
    adaptivity in time-published queue-based spin locks", HiPC 2005 (the owner removes the node). It is first in, first
    out, but no number is held against it: a waiter has its place a step before it is linked and waits.
    """

    def _setup(self) -> None:
        self._tail: Watched[_McsNode | None] = Watched(self, "tail", None)
        self._node: _McsNode | None = None

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        node = _McsNode(self, t)
        before = await self._tail.swap(t, node)
        if before is not None:
            self.contend(t, "w")
            await before.next.store(t, node)
            granted = await node.state.until(t, lambda v: v == "granted", killable)
            if not granted and await node.state.cas(t, "waiting", "given up"):
                return False
        self._node = node
        return True

    async def _write_unlock(self, t: Task) -> None:
        node = self._node
        assert node is not None
        while True:
            if await node.next.load(t) is None:
                if await self._tail.cas(t, node, None):
                    return
                await self._await_link(t, node)
            following = node.next.value
            if following is None or await following.state.cas(t, "waiting", "granted"):
                return
            node = following  # it was given up: its place is ours now

    async def _await_link(self, t: Task, node: _McsNode) -> None:
        """Somebody has swapped the tail and not yet linked its node."""
        await node.next.until(t, lambda v: v is not None)


class _ClhNode:
    def __init__(self, lock: ClhLock, name: str, state: str) -> None:
        self.state: Watched[str | _ClhNode] = Watched(lock, f"{name}.state", state)


class ClhLock(Exclusive):
    """An implicit list: each waiter watches the node before its own; who gives up leaves that node's name in its own.

    Source: Craig (1993), Landin and Hagersten (1994); giving up as in CLH-NB, Scott, "Non-blocking timeout in scalable
    queue-based spin locks", PODC 2002, with a garbage collector in place of its reclamation of nodes.
    """

    def _setup(self) -> None:
        self._tail = Watched(self, "tail", _ClhNode(self, "first", "available"))
        self._node: _ClhNode | None = None

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        node = _ClhNode(self, t.name, "waiting")
        before = await self._tail.swap(t, node)
        if before.state.value != "available":
            self.contend(t, "w")
        while True:
            if not await before.state.until(t, lambda v: v != "waiting", killable):
                await node.state.store(t, before)
                return False
            state = before.state.value
            if self._mine(state):
                self._node = node
                return True
            assert isinstance(state, _ClhNode)
            before = state

    def _mine(self, state: object) -> bool:
        return state == "available"

    async def _write_unlock(self, t: Task) -> None:
        assert self._node is not None
        await self._node.state.store(t, "available")
