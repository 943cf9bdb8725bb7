"""Ticket locks: who comes draws a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .base import Design, Exclusive, Watched

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

__all__ = ["PhaseFairTicket", "TaskFairTicket", "TicketLock"]


@attrs.frozen
class _Tickets:
    next: int = 0
    serving: int = 0
    gone: frozenset[int] = frozenset()


class TicketLock(Exclusive):
    """Served in the order of tickets; a ticket that was given up is passed over.

    Source: the ticket lock of Mellor-Crummey and Scott, "Algorithms for scalable synchronization on shared-memory
    multiprocessors", TOCS 9(1), 1991. Tickets that are given up are a choice here: the set of them is in the word.
    """

    def _setup(self) -> None:
        self._word = Watched(self, "tickets", _Tickets())

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        word = await self._word.rmw(t, lambda w: attrs.evolve(w, next=w.next + 1))
        mine = word.next - 1
        if word.serving == mine:
            return True
        self.contend(t, "w")
        if await self._word.until(t, lambda w: w.serving == mine, killable):
            return True
        # Served at the last moment is served: the number cannot be given up any more.
        word = await self._word.rmw(
            t, lambda w: w if w.serving == mine else attrs.evolve(w, gone=w.gone | {mine})
        )
        return word.serving == mine

    async def _write_unlock(self, t: Task) -> None:
        await self._word.rmw(t, self._following)

    def _following(self, word: _Tickets) -> _Tickets:
        serving = word.serving + 1
        while serving in word.gone:
            serving += 1
        return attrs.evolve(word, serving=serving, gone=frozenset(n for n in word.gone if n > serving))


@attrs.frozen
class _RwTickets:
    users: int = 0
    read: int = 0
    write: int = 0


class TaskFairTicket(Design):
    """Tickets for both kinds: a reader lets the next ticket's reader in at once, a writer waits for all before it.

    Source: the fair lock of Mellor-Crummey and Scott, "Scalable reader-writer synchronization for shared-memory
    multiprocessors", PPoPP 1991, in the form with three counters in a word. A ticket cannot be given back, so a
    killable waiter draws one only when it would be served at once.
    """

    def _setup(self) -> None:
        self._word = Watched(self, "tickets", _RwTickets())

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        if not await self._served(t, "read", killable):
            return False
        await self._word.rmw(t, lambda w: attrs.evolve(w, read=w.read + 1))
        return True

    async def _read_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda w: attrs.evolve(w, write=w.write + 1))

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        return await self._served(t, "write", killable)

    async def _write_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda w: attrs.evolve(w, read=w.read + 1, write=w.write + 1))

    async def _served(self, t: Task, counter: str, killable: bool) -> bool:
        if killable:
            while True:
                if not await self._word.until(t, lambda w: getattr(w, counter) == w.users, True):
                    return False
                seen = self._word.value
                if await self._word.cas(t, seen, attrs.evolve(seen, users=seen.users + 1)):
                    return True
        word = await self._word.rmw(t, lambda w: attrs.evolve(w, users=w.users + 1))
        mine = word.users - 1
        if getattr(word, counter) == mine:
            return True
        self.contend(t, "r" if counter == "read" else "w")
        return await self._word.until(t, lambda w: getattr(w, counter) == mine)


#: Bits of the word that readers count in: a writer is present, and which phase it is.
_PRES, _PHID, _WBITS, _RINC = 2, 1, 3, 16


class PhaseFairTicket(Design):
    """PF-T: read and write phases take turns; a reader waits for one write phase, writers draw tickets.

    Source: Brandenburg and Anderson, "Spin-based reader-writer synchronization for multiprocessor real-time systems",
    Real-Time Systems 46(1), 2010; DPDK, lib/eal/include/rte_pflock.h. A killable writer draws a ticket only if it is
    the next, and then waits for the readers inside, as nothing can take its announcement back.
    """

    #: A writer is passed over by the readers of one phase, which are four here, and never by a writer.
    bound: Final = 4

    def _setup(self) -> None:
        self._readers_in = Watched(self, "rin", 0)
        self._readers_out = Watched(self, "rout", 0)
        self._writers_in = Watched(self, "win", 0)
        self._writers_out = Watched(self, "wout", 0)

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        if killable:
            while True:
                if not await self._readers_in.until(t, lambda v: not v & _WBITS, True):
                    return False
                seen = self._readers_in.value
                if await self._readers_in.cas(t, seen, seen + _RINC):
                    return True
        phase = await self._readers_in.rmw(t, lambda v: v + _RINC) & _WBITS
        if not phase:
            return True
        self.contend(t, "r")
        return await self._readers_in.until(t, lambda v: self._over(v, phase))

    def _over(self, value: int, phase: int) -> bool:
        return value & _WBITS != phase

    async def _read_unlock(self, t: Task) -> None:
        await self._readers_out.rmw(t, lambda v: v + _RINC)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        ticket = await (self._next_ticket(t) if killable else self._ticket(t))
        if ticket is None:
            return False
        before = await self._readers_in.rmw(t, lambda v: v | _PRES | (ticket & _PHID)) & ~_WBITS
        return await self._readers_out.until(t, lambda v: v == before)

    async def _ticket(self, t: Task) -> int:
        """Draw a ticket and wait until it is its turn."""
        ticket = await self._writers_in.rmw(t, lambda v: v + 1) - 1
        if self._writers_out.value != ticket:
            self.contend(t, "w")
        await self._writers_out.until(t, lambda v: v == ticket)
        return ticket

    async def _next_ticket(self, t: Task) -> int | None:
        """Draw a ticket when it is served at once; None if a signal came first."""
        while True:
            out = await self._writers_out.load(t)
            if await self._writers_in.cas(t, out, out + 1):
                return out
            if not await self._served_since(t, out):
                return None

    async def _served_since(self, t: Task, out: int) -> bool:
        return await self._writers_out.until(t, lambda v: v != out, True)

    async def _write_unlock(self, t: Task) -> None:
        await self._readers_in.rmw(t, lambda v: v & ~_WBITS)
        await self._writers_out.rmw(t, lambda v: v + 1)
