"""What an arch must answer: the hooks that KVM and guest_memfd call, and the accesses that hardware judges.

An arch actor owns hardware state (RMP, S-EPT) keyed by frame. It knows pfns, gfns and VMs' identities, and
nothing of filemaps, slots or locks of the common code. `Arch` itself is the arch of an ordinary VM: every
hook succeeds and does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

from ..audit.kvm_events import IllegalAccess
from ..engine.observed import announces, by_key, whole
from ..engine.op import ALL
from .costs import CostTable
from .memory import HOST_KEY, ZERO, PhysicalMemory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..engine.task import Task
    from .spin import SpinWait

    #: A launch source's page: its content, none, or what fetches it (or answers an errno).
    Content = str | Callable[[], Awaitable[str | int]] | None

EIO: Final = -5


class VmIdentity(Protocol):
    """What an arch may know of a VM."""

    @property
    def label(self) -> str: ...

    @property
    def ident(self) -> int: ...


class HookResult(NamedTuple):
    """Answer of prepare and make_private: 0 or a negative errno, and whether hardware state changed."""

    ret: int
    did: bool


class GuestAccess(NamedTuple):
    """Answer of a guest access through a present mapping.

    Attributes:
        kind: `ok`; `npf` (a nested fault although a mapping is there, to be handled as a fault of that gfn);
            `exception` (the guest gets #VC or #VE); `dead` (the VM is killed); `error` (KVM_RUN fails with -EFAULT).
        value: what was read, or the status that the instruction gave the guest (`ok`); which exception.
        flag: the illegal-access flag of arch.md 1.6 or 2.6, if any.
    """

    kind: str
    value: str = ""
    flag: str = ""


@announces(
    bugged=by_key(lambda arch: "vm_bugged"),
    flags=whole(lambda arch: ("flags", 0, ALL)),
)
class Arch:
    """An ordinary VM (`KVM_X86_DEFAULT_VM`): shared memory only, hooks that do nothing.

    Subclasses override what their hardware does.

    Attributes:
        name: as on the command line.
        has_private_memory: whether a gfn can be private (`kvm_arch_has_private_mem`).
        hardware_private: the private bit of an access comes from hardware (C-bit, shared bit), not from KVM's
            attribute look-up.
        mirror_root: private mappings live in a page table of their own, so that a zap filter selects.
        needs_launch: the VM must be finalized before guest or pre-fault may touch private memory.
        shared_from_start: guest_memfd accepts INIT_SHARED (baseline to v3: only VM types without private memory).
        populate_maps: populate has KVM map the page, and `set_spte` adds it (KVM_TDX_INIT_MEM_REGION).
        populate_looks_first: populate looks at the page before it copies the source, where it does that itself.
        host_faults: flags of accesses that never reach memory, because the host takes a fault instead.
        rmp_faults: hardware checks the host frame behind a mapping, sizes included, and a refusal is a fault with a
            bit of its own, which has a handler besides the common one (`level_fits`, `rmp_fault`).
        host_stage2: a hypervisor below the host can take pages from it, so that the host's own accesses abort
            (`kernel_touch`, `user_abort`).
        encrypted_state: a vCPU's registers are in a page of their own, encrypted when the launch ends, which the guest
            can replace by one of its memory (`vmrun`).
        guest_converts: a conversion begins in the guest, with a hypercall that KVM only hears of (`guest_convert`).
        gfn_direct_bits: the bit of a gfn that makes an access shared, so that no memory has its address
            (`kvm_gfn_direct_bits`).
    """

    name: ClassVar[str] = "default"
    has_private_memory: ClassVar[bool] = False
    hardware_private: ClassVar[bool] = False
    mirror_root: ClassVar[bool] = False
    needs_launch: ClassVar[bool] = False
    shared_from_start: ClassVar[bool] = True
    populate_maps: ClassVar[bool] = False
    populate_looks_first: ClassVar[bool] = False
    host_faults: ClassVar[frozenset[str]] = frozenset()
    rmp_faults: ClassVar[bool] = False
    host_stage2: ClassVar[bool] = False
    guest_converts: ClassVar[bool] = False
    encrypted_state: ClassVar[bool] = False
    gfn_direct_bits: ClassVar[int] = 0

    def __init__(self, memory: PhysicalMemory, costs: CostTable | None = None) -> None:
        """Args:
        memory: frames, their contents, and the hardware tables of the machine.
        costs: virtual ns per step; default: everything is free.
        """
        self.memory = memory
        self.costs = CostTable.zero() if costs is None else costs
        self.flags: list[tuple[str, int]] = []
        #: VMs that KVM gave up, by `ident`.
        self.bugged: set[int] = set()

    # -- hooks of guest_memfd ------------------------------------------------------------------

    async def prepare(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, order: int) -> HookResult:
        """`kvm_arch_gmem_prepare`: make the frame ready for the guest. Idempotent."""
        return HookResult(0, False)

    async def make_private(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, pages: int) -> HookResult:
        """`kvm_arch_gmem_make_private`: the renamed hook; same contract as `prepare`."""
        return await self.prepare(t, vm, gfn, pfn, pages.bit_length() - 1)

    async def invalidate(self, t: Task, start: int, end: int) -> None:
        """`kvm_arch_gmem_invalidate`: frames [start, end) leave the page cache."""

    async def reclaim(self, t: Task, pfn: int, pages: int) -> None:
        """`kvm_arch_gmem_reclaim`: the renamed hook."""
        await self.invalidate(t, pfn, pfn + pages)

    async def make_shared(self, t: Task, pfn: int, pages: int) -> None:
        """`kvm_arch_gmem_make_shared`: frames of a range that becomes shared in place; cannot fail."""
        await self.invalidate(t, pfn, pfn + pages)

    async def invalidate_range(self, t: Task, vm: VmIdentity, start: int, end: int) -> None:
        """`kvm_arch_gmem_invalidate_range`: after the zap of gfns [start, end), mmu_lock held for writing."""

    def launch_wants_source(self) -> bool:
        """Whether the launch command under way is one for pages whose content comes from a source."""
        return False

    @property
    def populate_premaps(self) -> bool:
        """Whether the launch maps a page before it adds it (`populate_maps`)."""
        return False

    async def populate(
        self,
        t: Task,
        vm: VmIdentity,
        gfn: int,
        pfn: int,
        source: Content,
        map_private_pfn: Callable[[], Awaitable[int]] | None = None,
    ) -> int:
        """The populate callback for one page; `source` is the content to copy in, None for a NULL source.

        A function is called for the content when its turn comes (`populate_looks_first`), and may answer an errno.

        `map_private_pfn` is KVM's `kvm_tdp_mmu_map_private_pfn` of this page, `set_spte` included (`populate_maps`).

        Returns 0 or a negative errno. -EOPNOTSUPP here: an ordinary VM has no launch measurement.
        """
        return -95

    async def launch_finish(self, t: Task, vm: VmIdentity) -> int:
        """Finalize the VM: 0 or a negative errno."""
        return 0

    # -- hooks of the MMU ----------------------------------------------------------------------

    async def set_spte(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, level: int = 1
    ) -> int:
        """A leaf is about to become visible to the guest: 0, or -EBUSY to retry, or -EIO (the VM is dead).

        `level`: 1 = 4K, 2 = 2M, 3 = 1G; `gfn` and `pfn` are aligned to it.
        """
        return 0

    async def remove_sptes(
        self, t: Task, vm: VmIdentity, leaves: list[tuple[int, int]], level: int = 1
    ) -> None:
        """Leaves `(gfn, pfn)` of that level of the private table were zapped; mmu_lock is held for writing."""

    async def split_spte(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, level: int) -> int:
        """A private leaf of that level becomes a table of the level below; mmu_lock is held for writing.

        0, or -EBUSY, -ENOMEM or -EIO with the leaf unchanged.
        """
        return 0

    def max_level(self, pfn: int, private: bool) -> int:
        """Largest mapping level for the frame: 0 no opinion, 1 = 4K, 2 = 2M, 3 = 1G."""
        return 0

    async def max_mapping_level(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, prefetch: bool
    ) -> int:
        """The same for a fault of that VM on `gfn` (`kvm_x86_ops.gmem_max_mapping_level`)."""
        return self.max_level(pfn, private)

    async def rmp_fault(self, t: Task, pfn: int) -> int | None:
        """Hardware refused an access through a mapping (`rmp_faults`): None if there was nothing to split.

        Else 0, or the code with which the split failed.
        """
        return None

    async def rmp_recheck(self, t: Task, pfn: int, code: int) -> int:
        """The split failed with `code`: that, or 0 if it is done all the same."""
        return code

    def vmrun(self, t: Task, vm: VmIdentity, pfn: int) -> bool:
        """Hardware enters the guest with the save area at `pfn` (`encrypted_state`): False if it refuses the page."""
        return True

    def vmexit(self, t: Task, pfn: int) -> None:
        """Hardware leaves the guest and the save area."""

    async def rmp_assigned(self, t: Task, pfn: int) -> bool:
        """Whether hardware has the frame as a guest's, by a look-up (`rmp_faults`)."""
        return False

    @property
    def splits_for_accept(self) -> bool:
        """Whether a private leaf larger than what the guest asks to accept is split at that exit."""
        return False

    async def accept_fault(self, t: Task, vm: VmIdentity, vcpu: int, gfn: int, level: int) -> None:
        """The guest's request to accept a page is about to fault, where folios can be huge: the exit has the level."""

    def spin_waits(self) -> Iterable[SpinWait]:
        """Where software spins on this VM's hardware, for statistics of timed runs."""
        return ()

    # -- accesses ------------------------------------------------------------------------------

    def guest_key(self, vm: VmIdentity, private: bool) -> int:
        """Memory key of the guest's accesses of that kind."""
        return HOST_KEY

    async def guest_access(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, write: str | None
    ) -> GuestAccess:
        """The guest reads (`write` is None) or writes the frame through a present mapping."""
        key = self.guest_key(vm, private)
        if write is not None:
            self.memory.write(pfn, write, key)
            return GuestAccess("ok", write)
        return GuestAccess("ok", self.memory.read(pfn, key))

    def level_fits(self, t: Task, pfn: int, private: bool, level: int) -> bool:
        """Whether hardware takes a mapping of that level to the frame; False: the access faults (`rmp_faults`)."""
        return True

    async def guest_convert(self, t: Task, vm: VmIdentity, gfn: int, private: bool) -> int:
        """The guest's own part of a conversion, before the exit to the VMM (`guest_converts`): 0 or an errno."""
        return 0

    def guest_forgets(self, t: Task, vm: VmIdentity, start: int, end: int) -> None:
        """The guest asks for a conversion of gfns [start, end): what it had accepted there is not taken from it."""

    async def kernel_touch(self, t: Task, pfn: int) -> None:
        """The host kernel is about to access a frame (`host_stage2`): its aborts end here, the access follows."""

    def user_abort(self, t: Task, pfn: int) -> str:
        """The signal that a host process gets for its access to a frame that it maps (`host_stage2`), or nothing."""
        return ""

    def host_access(self, t: Task, pfn: int, write: bool) -> str | None:
        """Judge a host access (clear, copy, user mapping): None, or the illegal-access flag."""
        return None

    def kvm_bug(self, t: Task, vm: VmIdentity) -> int:
        """`KVM_BUG_ON`: the VM is dead (`kvm_vm_bugged`), and every later call of it fails. Returns -EIO."""
        self.bugged.add(vm.ident)
        return EIO

    def flag(self, t: Task, name: str, pfn: int) -> None:
        """Record an illegal access."""
        self.flags.append((name, pfn))
        if t.rec is not None:
            t.rec(t, IllegalAccess(name, pfn))

    def clear(self, t: Task, pfn: int) -> None:
        """The host zeroes a frame through its direct map."""
        self.host_write(t, pfn, ZERO)

    def clear_range(self, t: Task, pfn: int, pages: int) -> None:
        """The same for `pages` frames; where nothing judges host accesses they are one range."""
        if not self.passes(t, pfn, pages):
            for frame in range(pfn, pfn + pages):
                self.clear(t, frame)
            return
        self.memory.fill(pfn, pages, ZERO)

    def passes(self, t: Task, pfn: int, pages: int) -> bool:
        """Whether a host write of each of these frames would be judged alike, and let pass."""
        return self._plain_host_access(Arch)

    def _plain_host_access(self, cls: type[Arch]) -> bool:
        """Whether the host's accesses are those of `cls`, and not of a class below it."""
        names = ("clear", "host_write", "host_access")
        return all(getattr(type(self), name) is getattr(cls, name) for name in names)

    def host_read(self, t: Task, pfn: int) -> str:
        """The host reads a frame."""
        flag = self.host_access(t, pfn, False)
        if flag is not None:
            self.flag(t, flag, pfn)
        return self.memory.read(pfn)

    def host_write(self, t: Task, pfn: int, value: str) -> None:
        """The host writes a frame; a write that faults (`host_faults`) changes nothing."""
        flag = self.host_access(t, pfn, True)
        if flag is not None:
            self.flag(t, flag, pfn)
            if flag in self.host_faults:
                return
        self.memory.write(pfn, value)

    def page_freed(self, t: Task, pfn: int) -> str | None:
        """The frame goes back to the allocator: the flag if hardware still thinks it a guest's."""
        return None

    def pages_freed(self, t: Task, pfn: int, pages: int) -> list[tuple[str, int]]:
        """`page_freed` of `pages` frames: flags with their frames; no work where no arch keeps state of a frame."""
        if type(self).page_freed is Arch.page_freed:
            return []
        found = ((self.page_freed(t, frame), frame) for frame in range(pfn, pfn + pages))
        return [(flag, frame) for flag, frame in found if flag is not None]
