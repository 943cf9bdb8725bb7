"""The call of the TDX module that the guest makes: ACCEPT (arch.md 2.1, decision table)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.observed_containers import keys_within
from ..engine.op import Op
from .memory import FRAMES, ZERO
from .sept import SeptState
from .tdx_frames import TdxFrames
from .tdx_state import TdxStatus, pages_of

if TYPE_CHECKING:
    from ..engine.task import Task
    from .sept import SeptEntry
    from .tdx_epoch import TdVcpu
    from .tdx_state import Td


class TdxAccept(TdxFrames):
    """TDG.MEM.PAGE.ACCEPT."""

    async def page_accept(self, t: Task, td: Td, gfn: int, level: int = 1, vcpu: TdVcpu | None = None) -> int:
        """TDG.MEM.PAGE.ACCEPT (decision table of arch.md 2.1): PENDING to MAPPED, zeroed with the TD's key.

        EPT_VIOLATION stands for the exit that a missing, free, blocked or larger pending entry causes. A 2M request is
        looked at for an interrupt of `vcpu` on the way: INTERRUPTED_RESUMABLE, and the next call goes on from there.
        """
        code = await self._page_accept(t, td, gfn, level, vcpu)
        entry = td.sept.find(gfn, level)
        return self._done(t, "TDG.MEM.PAGE.ACCEPT", -1 if entry is None else entry.pfn, code)

    async def _page_accept(self, t: Task, td: Td, gfn: int, level: int, vcpu: TdVcpu | None) -> int:
        if t.traps:
            await t.point(td.sept.op("load", gfn, level, mode="r"))
        top = td.sept.state(gfn, 2)
        if level == 1 and top != SeptState.NL_MAPPED:
            # Of a 2M page that is mapped every part is accepted; one that is pending is larger than asked for.
            return TdxStatus.PAGE_ALREADY_ACCEPTED if top == SeptState.MAPPED else TdxStatus.EPT_VIOLATION
        if level == 2 and top == SeptState.NL_MAPPED:
            return TdxStatus.PAGE_SIZE_MISMATCH
        free = td.sept.state(gfn, level) == SeptState.FREE
        if free and not self.choices.guest_locks_free:
            return TdxStatus.EPT_VIOLATION
        entry = await td.sept.try_lock(t, gfn, level, guest=True)
        if entry is None:
            return TdxStatus.OPERAND_BUSY
        code: int = TdxStatus.EPT_VIOLATION
        if entry.state == SeptState.PENDING:
            code = await self._zero(t, td, entry, level, vcpu)
        elif entry.state == SeptState.MAPPED:
            code = TdxStatus.PAGE_ALREADY_ACCEPTED
        if t.traps:
            await t.point(td.sept.op("rmw", gfn, level))
        if code == TdxStatus.SUCCESS:
            entry.state = SeptState.MAPPED
            entry.accepted = 0
            td.accepted.update(range(gfn, gfn + pages_of(level)))
        td.sept.unlock(gfn, level)
        return code

    async def _zero(self, t: Task, td: Td, entry: SeptEntry, level: int, vcpu: TdVcpu | None) -> int:
        """Zero what is left of a pending page, with a look for interrupts after each part."""
        pages = pages_of(level)
        part = pages if level == 1 else max(pages // self.choices.accept_checks, 1)
        while entry.accepted < pages:
            first = entry.pfn + entry.accepted
            await t.spend(self.costs.accept if level == 1 else self.costs.accept_2m_4k * part)
            if t.traps:
                await t.point(Op("rmw", FRAMES, first, first + part))
            self.memory.fill(first, part, ZERO, td.key)
            self.poisoned.difference_update(keys_within(self.poisoned, first, first + part))
            entry.accepted += part
            if vcpu is not None and entry.accepted < pages and vcpu.kicked:
                return TdxStatus.INTERRUPTED_RESUMABLE
        return TdxStatus.SUCCESS
