"""The stage-2 tables that EL2 keeps for pKVM, host's and guests', and their spinlocks (arch.md 4.1).

Host and guest entry of a page change in one step: hardware walks the one table or the other, never both for one access,
so no access can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..audit.kvm_events import HardwareOp
from ..engine.locks.spinlock import SpinLock
from ..engine.locks.stats import LockClass
from ..engine.observed import announces, by_key
from ..engine.op import Op
from .memory import FRAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.task import Task
    from .choices import PkvmChoices
    from .memory import PhysicalMemory

#: Owners that are no VM.
HOST: Final = -1
HYP: Final = -2


class PageState:
    """`enum pkvm_page_state`, and what is left of a page that was taken from a guest by force."""

    OWNED: Final = "owned"
    SHARED_OWNED: Final = "shared_owned"
    SHARED_BORROWED: Final = "shared_borrowed"
    NOPAGE: Final = "nopage"
    POISON: Final = "poison"


class HostPage(NamedTuple):
    """Entry of the host's stage-2 table, an identity map.

    Attributes:
        owner, gfn: what an invalid entry is annotated with. Of a borrowed page the hardware entry does not say it;
            the model keeps it to find the lender.
        borrowers: `(VM, gfn)` of guests that the host lends the page to; the kernel has their number.
    """

    state: str = PageState.OWNED
    owner: int = HOST
    gfn: int = -1
    borrowers: tuple[tuple[int, int], ...] = ()


class GuestPage(NamedTuple):
    """Entry of a guest's stage-2 table; a missing one is NOPAGE."""

    state: str
    pfn: int


#: An entry like any other: the page is the host's.
HOST_PAGE: Final = HostPage()


@announces(pages=by_key(lambda vm: vm.table))
class El2Vm:
    """What EL2 knows of a VM.

    Attributes:
        lock: of its stage-2 table, `pages`, by gfn.
        protected: pages are donated to it, not lent.
        dying: teardown has started.
    """

    __slots__ = ("dying", "ident", "label", "lock", "pages", "protected", "table")

    def __init__(self, label: str, ident: int, protected: bool = True) -> None:
        self.label = label
        self.ident = ident
        self.protected = protected
        self.dying = False
        self.pages: dict[int, GuestPage] = {}
        self.lock = SpinLock(f"{label}.el2_lock", LockClass("el2_guest"), host=False)
        #: Object of the steps on `pages`; ranges are gfns.
        self.table = f"{label}.el2_stage2"

    def state(self, gfn: int) -> str:
        """Without a step."""
        page = self.pages.get(gfn)
        return PageState.NOPAGE if page is None else page.state


@announces(host=by_key(lambda el2: FRAMES), secret=by_key(lambda el2: FRAMES))
class El2State:
    """Tables, locks, and the step that changes an entry; `El2` makes hypercalls of them.

    Attributes:
        host: entries of the host's table that are not plainly the host's.
        vms: `vm_table`, by handle.
        secret: frames with content that only their guest may see; the model's own book, not EL2's.
        blame: told of what EL2 asserts and finds broken: task, flag, frame.
    """

    def __init__(self, memory: PhysicalMemory, choices: PkvmChoices) -> None:
        self.memory = memory
        self.choices = choices
        self.host: dict[int, HostPage] = {}
        self.vms: dict[int, El2Vm] = {}
        self.secret: set[int] = set()
        self.blame: Callable[[Task, str, int], None] = lambda t, flag, pfn: None
        self.vm_table_lock = SpinLock("el2.vm_table_lock", LockClass("el2_vm_table"), host=False)
        self.host_lock = SpinLock("el2.host_mmu_lock", LockClass("el2_host"), host=False)
        self.hyp_lock = SpinLock("el2.pgd_lock", LockClass("el2_hyp"), host=False)

    def page(self, pfn: int) -> HostPage:
        """The host's entry, without a step."""
        return self.host.get(pfn, HOST_PAGE)

    # -- locks and steps -----------------------------------------------------------------------

    async def lock(self, t: Task, vm: El2Vm | None = None, hyp: bool = False) -> None:
        """Host, hyp, guest."""
        await self.host_lock.lock(t)
        if hyp:
            await self.hyp_lock.lock(t)
        if vm is not None:
            await vm.lock.lock(t)

    async def unlock(self, t: Task, vm: El2Vm | None = None, hyp: bool = False) -> None:
        if vm is not None:
            await vm.lock.unlock(t)
        if hyp:
            await self.hyp_lock.unlock(t)
        await self.host_lock.unlock(t)

    async def write(
        self,
        t: Task,
        pfn: int,
        host: HostPage,
        vm: El2Vm | None = None,
        gfn: int = -1,
        guest: GuestPage | None = None,
    ) -> None:
        """Both entries in one step."""
        if t.traps:
            await t.point(Op("rmw", FRAMES, pfn, pfn + 1))
        self.store(t, pfn, host, vm, gfn, guest)

    def store(
        self, t: Task, pfn: int, host: HostPage, vm: El2Vm | None, gfn: int, guest: GuestPage | None
    ) -> None:
        """The entries themselves, as part of the step at hand."""
        if host == HOST_PAGE:
            self.host.pop(pfn, None)
        else:
            self.host[pfn] = host
        if vm is None:
            return
        if guest is None:
            vm.pages.pop(gfn, None)
        else:
            vm.pages[gfn] = guest
            # What the guest shares is no secret any more; what it takes back may become one.
            (self.secret.add if guest.state == PageState.OWNED else self.secret.discard)(pfn)

    @staticmethod
    def done(t: Task, op: str, pfn: int, ret: int) -> int:
        """Log a hypercall and pass its result on; frame 0 stands for none."""
        if t.rec is not None:
            t.rec(t, HardwareOp(op, max(pfn, 0), ret))
        return ret
