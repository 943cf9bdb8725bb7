"""The AMD security processor: one mailbox, one command at a time (arch.md 1.1, 1.3).

It is an actor in the full sense: a task of its own that serves a queue. Two VMs that launch at once wait
for each other here, however many CPUs there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from ..audit.kvm_events import HardwareOp
from ..engine.mailbox import Mailbox
from ..engine.observed import announces
from ..engine.op import ALL, Op
from .memory import FRAMES, ZERO
from .rmp import HYPERVISOR

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.task import Task
    from .costs import CostTable
    from .memory import PhysicalMemory
    from .rmp import Rmp


class PspStatus:
    """Firmware status of a command (numbers of this model; 0 is success)."""

    SUCCESS: Final = 0
    INVALID_PAGE_STATE: Final = 1
    INVALID_GUEST_STATE: Final = 2
    FAILED: Final = 3


@attrs.frozen
class PspCommand:
    """One request.

    Attributes:
        name: which command.
        asid: the guest.
        pfn, gfn: the page and where the guest sees it (page commands).
        zero: LAUNCH_UPDATE of page type ZERO: the firmware zeroes instead of encrypting what is there.
        fail: the command is to fail (fault point of the caller).
    """

    name: Literal["SNP_LAUNCH_UPDATE", "SNP_LAUNCH_FINISH", "SNP_PAGE_RECLAIM"]
    asid: int
    pfn: int = 0
    gfn: int = 0
    zero: bool = False
    fail: bool = False


@announces(
    mailbox=lambda psp: ("psp", 0, ALL),
    _engine=lambda psp: ("psp", 0, ALL),
)
class Psp:
    """The processor and what it knows of each guest.

    Attributes:
        mailbox: requests in order of arrival.
        finished: guests whose launch is over.
        measured: what LAUNCH_UPDATE measured, as `(asid, gfn, content)`, in order.
    """

    def __init__(self, memory: PhysicalMemory, rmp: Rmp, costs: CostTable) -> None:
        self.memory = memory
        self.rmp = rmp
        self.costs = costs
        self.mailbox: Mailbox[PspCommand] = Mailbox("psp")
        self.finished: set[int] = set()
        self.measured: list[tuple[int, int, str]] = []
        self._engine: Engine | None = None

    async def call(self, t: Task, command: PspCommand) -> int:
        """Queue a command and wait for its status."""
        if self._engine is not t.engine:
            # A new run: whoever waited in the old one is gone.
            self._engine = t.engine
            self.mailbox = Mailbox("psp")
            t.engine.spawn("psp", self._serve, daemon=True)
        status: int = await self.mailbox.call(t, command)
        return status

    async def _serve(self, t: Task) -> None:
        while True:
            sender, command = await self.mailbox.receive(t)
            status = await self._execute(t, command)
            if t.rec is not None:
                t.rec(t, HardwareOp(command.name, command.pfn, status))
            await self.mailbox.reply(t, sender, status)

    async def _execute(self, t: Task, command: PspCommand) -> int:
        if command.name == "SNP_LAUNCH_FINISH":
            await t.spend(self.costs.psp_command)
            return self._launch_finish(command)
        update = command.name == "SNP_LAUNCH_UPDATE"
        await t.spend(self.costs.psp_launch_update if update else self.costs.psp_command)
        if t.traps:
            await t.point(Op("rmw", FRAMES, command.pfn, command.pfn + 1))
        return self._launch_update(command) if update else self._page_reclaim(command)

    def _launch_finish(self, command: PspCommand) -> int:
        if command.fail:
            return PspStatus.FAILED
        if command.asid in self.finished:
            return PspStatus.INVALID_GUEST_STATE
        self.finished.add(command.asid)
        return PspStatus.SUCCESS

    def _launch_update(self, command: PspCommand) -> int:
        """Transition 3: Pre-Guest to Guest-Valid, measured and encrypted in place."""
        pfn = command.pfn
        entry = self.rmp.entry(pfn)
        if entry.state != "pre_guest" or (entry.asid, entry.gfn) != (command.asid, command.gfn):
            return PspStatus.INVALID_PAGE_STATE
        if command.fail or command.asid in self.finished:
            if self.rmp.choices.failed_update_state == "firmware":
                self.rmp.write(pfn, entry._replace(asid=0))
            return PspStatus.FAILED if command.fail else PspStatus.INVALID_GUEST_STATE
        content = ZERO if command.zero else self.memory.read(pfn)
        self.memory.write(pfn, content, command.asid)
        self.measured.append((command.asid, command.gfn, content))
        self.rmp.write(pfn, entry._replace(immutable=False, validated=True))
        return PspStatus.SUCCESS

    def _page_reclaim(self, command: PspCommand) -> int:
        """A page that the firmware kept becomes one that the host may take back with RMPUPDATE."""
        entry = self.rmp.entry(command.pfn)
        if command.fail:
            return PspStatus.FAILED
        if entry == HYPERVISOR or not entry.immutable:
            return PspStatus.INVALID_PAGE_STATE
        self.rmp.write(command.pfn, entry._replace(immutable=False))
        return PspStatus.SUCCESS
