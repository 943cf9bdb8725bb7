"""What the threads of a storm do: one kind of work, again and again, on folios of their own.

A storm says what comes before the measured part (`before`) and what one unit of work is (`work`); the rest is the
machine's. Each uses the calls of the version: a conversion is the file's ioctl where the version has it, else the VM's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from ..actors.vm import Vcpu
    from ..engine.task import Task
    from .machine import StormMachine

BACKGROUNDS: Final[dict[str, str]] = {
    "none": "nobody else",
    "punch": "a thread punches a chunk of its own and touches it again",
    "convert": "a thread converts a chunk of its own to shared and back, and touches it again",
}


class Storm:
    """A kind of work.

    Attributes:
        about: what the threads do, for people.
        unit: what is counted.
        same: every thread works on the same folios, in the same order.
        touched: the folios were touched before the storm.
        guest: between two units the guest runs, which a kick interrupts.
        converts, accepts, launches: the VM type must have private memory, a guest that accepts, a launch by page.
    """

    about: ClassVar[str]
    unit: ClassVar[str] = "faults"
    same: ClassVar[bool] = False
    touched: ClassVar[bool] = False
    guest: ClassVar[bool] = False
    converts: ClassVar[bool] = False
    accepts: ClassVar[bool] = False
    launches: ClassVar[bool] = False

    async def before(self, m: StormMachine, t: Task) -> None:
        """Between the first touches and the storm."""

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        """One unit on the folio that begins at `page`; the attempts it took, 0 if there was nothing to do."""
        raise NotImplementedError


class FirstTouch(Storm):
    about = "each vCPU touches its own folios, for the first time"
    guest = True

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        return await m.touch(t, vcpu, page)


class FirstTouchSame(FirstTouch):
    about = "all vCPUs touch the same folios, for the first time and in the same order"
    same = True


class Refault(FirstTouch):
    about = "each vCPU touches its own folios again after conversion to shared and back zapped them"
    touched = True
    converts = True

    async def before(self, m: StormMachine, t: Task) -> None:
        everything = range(m.pages)
        await m.convert(t, everything, False)
        await m.convert(t, everything, True)


class Accept(Storm):
    about = "each vCPU accepts its own folios: PVALIDATE or TDG.MEM.PAGE.ACCEPT, with the fault below it"
    unit = "accepts"
    guest = True
    accepts = True

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        return await m.accept(t, vcpu, page)


class AcceptSerial(Accept):
    """`accept_memory` of guests before Linux 6.6: `unaccepted_memory_lock` is held while the pages are accepted.

    Since "efi/unaccepted: Fix soft lockups caused by parallel memory acceptance" (October 2023) the lock is dropped.
    """

    about = "as accept, in a guest before Linux 6.6, whose one spinlock is held while a folio is accepted"

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        return await m.accept_memory(t, vcpu, page)


class Prefault(Storm):
    about = "each vCPU maps its own folios with KVM_PRE_FAULT_MEMORY, a call a folio"
    unit = "pre-faults"

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        return await m.prefault(t, vcpu, page)


class Convert(Storm):
    about = "each VMM thread converts its own touched folios to shared, a call a folio"
    unit = "conversions"
    touched = True
    converts = True

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        await m.convert(t, m.folio_at(page), False)
        return 1


class Punch(Storm):
    about = "each VMM thread punches its own touched folios, a call a folio"
    unit = "punches"
    touched = True

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        await m.punch(t, m.folio_at(page))
        return 1


class MemoryFailure(Storm):
    about = "each thread reports a memory error in its own touched folios, a call a folio"
    unit = "memory failures"
    touched = True

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        await m.fail(t, page)
        return 1


class Populate(Storm):
    about = "each VMM thread populates its own pages before the launch ends, a call a page"
    unit = "pages"
    launches = True

    async def work(self, m: StormMachine, t: Task, vcpu: Vcpu, page: int) -> int:
        await m.populate(t, page)
        return 1


#: Storms by the name that a user gives them.
STORMS: Final[dict[str, Storm]] = {
    "first-touch": FirstTouch(),
    "first-touch-same": FirstTouchSame(),
    "refault": Refault(),
    "accept": Accept(),
    "accept-serial": AcceptSerial(),
    "prefault": Prefault(),
    "convert": Convert(),
    "punch": Punch(),
    "memory-failure": MemoryFailure(),
    "populate": Populate(),
}

#: The storms of vCPU faults, which every VM type with private memory can do.
FAULT_STORMS: Final = ("first-touch", "first-touch-same", "refault")
