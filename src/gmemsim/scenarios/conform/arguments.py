"""The arguments of every operation of a vector, one struct each: what `args` may hold, and of which type.

Numbers that go to a call are any integer, since a vector may ask for what must fail; lengths of plain memory accesses
are bounded. Sizes, offsets and addresses are bytes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "ARGUMENTS", "VCPU_OPERATIONS", "Args", "Bind", "BindV1", "CheckCap", "Close", "Convert", "Create",
    "ErrorInject", "EventCount", "Exit", "Fallocate", "Fork", "Ftruncate", "GetMempolicy", "GetState",
    "GuestRead", "GuestReadLoop", "GuestWrite", "GuestWriteLoop", "HostRead", "HostWrite", "Ioctl",
    "LaunchFinish", "Loop", "Madvise", "MapGpa", "Mbind", "Mmap", "MovePagesQuery", "Munmap", "Parallel", "Pin",
    "Populate", "PreFault", "Pread", "PunchHole", "Pwrite", "Read", "Resume", "SetAttributes", "SignalPending",
    "Stage2Mapped", "Stat", "Unbind", "Unpin", "Unpoison", "VmClose", "Write", "Yield", "ZapStage2",
]  # fmt: skip

#: A GiB is the most that a vector touches at once: a larger range would run for hours, page by page.
Length = Annotated[int, Meta(ge=0, le=1 << 30)]
#: Of an access: its sum with a length stays below the kernel's loff_t.
Place = Annotated[int, Meta(ge=0, lt=1 << 62)]
Rounds = Annotated[int, Meta(ge=1, le=100_000)]
Byte = Annotated[int, Meta(ge=0, le=255)]
#: `auto`: follow the present state; `auto_private`: private where the VM type has a choice.
Access = Literal["auto", "shared", "private", "auto_private"]
State = Literal["private", "shared"]
#: Bits without a name are `bit3` and so on.
SlotFlag = Annotated[str, Meta(pattern="^(GUEST_MEMFD|LOG_DIRTY_PAGES|READONLY|bit[0-9]{1,2})$")]
Attribute = Annotated[str, Meta(pattern="^(PRIVATE|bit[0-9]{1,2})$")]
FileFlag = Literal["MMAP", "INIT_SHARED", "HUGETLB", "HUGETLB_2M", "HUGETLB_1G"]
Mode = Literal[
    "KEEP_SIZE",
    "PUNCH_HOLE",
    "NO_HIDE_STALE",
    "COLLAPSE_RANGE",
    "ZERO_RANGE",
    "INSERT_RANGE",
    "UNSHARE_RANGE",
]


def _spelling(cls: str) -> str:
    """`PunchHole` is `punch_hole`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in cls).lstrip("_")


class Args(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation is given."""


# -- files ---------------------------------------------------------------------------------------


class Create(Args, frozen=True, kw_only=True):
    """KVM_CREATE_GUEST_MEMFD. `raw_flags` are bits beside the named ones."""

    size: int
    flags: tuple[FileFlag, ...]
    made: str = msgspec.field(name="as")
    raw_flags: Annotated[int, Meta(ge=0)] = 0


class Close(Args, frozen=True, kw_only=True):
    """close(2)."""

    gmem: str


class Stat(Args, frozen=True, kw_only=True):
    """fstat(2)."""

    gmem: str


class Read(Args, frozen=True, kw_only=True):
    """read(2); `offset` is where the file position is."""

    gmem: str
    len: int
    offset: int = 0


class Pread(Args, frozen=True, kw_only=True):
    """pread(2)."""

    gmem: str
    len: int
    offset: int = 0


class Write(Args, frozen=True, kw_only=True):
    """write(2) of equal bytes."""

    gmem: str
    len: int
    offset: int = 0
    value: Byte = 0


class Pwrite(Args, frozen=True, kw_only=True):
    """pwrite(2) of equal bytes."""

    gmem: str
    len: int
    offset: int = 0
    value: Byte = 0


class Ftruncate(Args, frozen=True, kw_only=True):
    """ftruncate(2)."""

    gmem: str
    size: int


class Fallocate(Args, frozen=True, kw_only=True):
    """fallocate(2)."""

    gmem: str
    offset: int
    len: int
    mode: tuple[Mode, ...]


class PunchHole(Args, frozen=True, kw_only=True):
    """fallocate(2) with PUNCH_HOLE and KEEP_SIZE."""

    gmem: str
    offset: int
    len: int


class Ioctl(Args, frozen=True, kw_only=True):
    """ioctl(2) with a number that a guest_memfd does not know: `unknown`, or one of another kind of file."""

    gmem: str
    number: Literal["unknown", "KVM_RUN", "KVM_CREATE_VM", "KVM_CREATE_GUEST_MEMFD"]


class CheckCap(Args, frozen=True, kw_only=True):
    """KVM_CHECK_EXTENSION."""

    cap: Literal["GUEST_MEMFD", "GUEST_MEMFD_FLAGS", "MEMORY_ATTRIBUTES", "GUEST_MEMFD_MEMORY_ATTRIBUTES"]


# -- slots ---------------------------------------------------------------------------------------


class Bind(Args, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION2. `gmem` null or a negative number is a descriptor that is not open."""

    slot: int | Literal["max_slots"]
    gpa: int
    size: int
    flags: tuple[SlotFlag, ...]
    gmem: str | int | None = None
    gmem_offset: int = 0
    userspace_addr: int | str = 0


class BindV1(Args, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION."""

    slot: int | Literal["max_slots"]
    gpa: int
    size: int
    flags: tuple[SlotFlag, ...]
    userspace_addr: int | str = 0


class Unbind(Args, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION2 with size 0."""

    slot: int


class VmClose(Args, frozen=True, kw_only=True):
    """close(2) of the VM's descriptor."""


# -- host ----------------------------------------------------------------------------------------


class HostRead(Args, frozen=True, kw_only=True):
    """Loads by the host."""

    map: str
    offset: Place
    len: Length


class HostWrite(Args, frozen=True, kw_only=True):
    """Stores of equal bytes by the host."""

    map: str
    offset: Place
    len: Length
    value: Byte


class Mmap(Args, frozen=True, kw_only=True):
    """mmap(2) of the file."""

    gmem: str
    offset: int
    len: int
    made: str = msgspec.field(name="as")
    share: Literal["shared", "private"] = "shared"
    prot: Literal["rw", "r"] = "rw"


class Munmap(Args, frozen=True, kw_only=True):
    """munmap(2) of a whole mapping."""

    map: str


class Madvise(Args, frozen=True, kw_only=True):
    """madvise(2)."""

    map: str
    offset: int
    len: int
    advice: Literal["DONTNEED", "HUGEPAGE", "COLLAPSE"]


class Pin(Args, frozen=True, kw_only=True):
    """A long-term pin of every page."""

    map: str
    offset: Place
    len: Length


class Unpin(Args, frozen=True, kw_only=True):
    """Give the pins back."""

    map: str
    offset: Place
    len: Length


class Fork(Args, frozen=True, kw_only=True):
    """fork(2): the new process is the actor `child`."""

    made: Literal["child"] = msgspec.field(name="as", default="child")


class Exit(Args, frozen=True, kw_only=True):
    """_exit(2) of the actor's process, which nobody waits for."""

    status: int = 0


class Mbind(Args, frozen=True, kw_only=True):
    """mbind(2)."""

    map: str
    offset: Place
    len: Length
    policy: Literal["DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "999"]
    nodes: tuple[int, ...]


class GetMempolicy(Args, frozen=True, kw_only=True):
    """get_mempolicy(2) of one address."""

    map: str
    offset: Place


class MovePagesQuery(Args, frozen=True, kw_only=True):
    """move_pages(2) without nodes: where pages are."""

    map: str
    offsets: tuple[Place, ...]


class ErrorInject(Args, frozen=True, kw_only=True):
    """A hardware error in the page at `offset` of the file."""

    gmem: str
    offset: Place
    method: Literal["debugfs", "madvise", "kernel", "fd_ioctl_rfc"]
    map: str | None = None
    kill_policy: Literal["early", "late", "default"] = "default"
    mapped: bool | None = None
    dirty: bool = True


class Unpoison(Args, frozen=True, kw_only=True):
    """Take back the last injected error."""

    what: Literal["last"]


# -- guest ---------------------------------------------------------------------------------------


class GuestRead(Args, frozen=True, kw_only=True):
    """Loads by a vCPU."""

    gpa: Place
    len: Length
    access: Access = "auto"


class GuestWrite(Args, frozen=True, kw_only=True):
    """Stores of equal bytes by a vCPU."""

    gpa: Place
    len: Length
    value: Byte
    access: Access = "auto"


class GuestReadLoop(Args, frozen=True, kw_only=True):
    """Loads until an access leaves the guest, or `count` times."""

    gpa: Place
    len: Length
    access: Access = "auto"
    count: Rounds | None = None


class GuestWriteLoop(Args, frozen=True, kw_only=True):
    """Stores until an access leaves the guest, or `count` times."""

    gpa: Place
    len: Length
    value: Byte
    access: Access = "auto"
    count: Rounds | None = None


class Resume(Args, frozen=True, kw_only=True):
    """KVM_RUN again after an exit: the access completes."""


class MapGpa(Args, frozen=True, kw_only=True):
    """KVM_HC_MAP_GPA_RANGE."""

    gpa: int
    len: int
    to: State


class PreFault(Args, frozen=True, kw_only=True):
    """KVM_PRE_FAULT_MEMORY."""

    gpa: int
    size: int
    flags: int = 0
    bad_argument_pointer: bool = False


# -- the VM --------------------------------------------------------------------------------------


class SetAttributes(Args, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES."""

    gpa: int
    len: int
    attributes: tuple[Attribute, ...]
    flags: int = 0


class Convert(Args, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES2 on the file. `raw_attributes` and `reserved` are words of its argument."""

    gmem: str
    offset: int
    len: int
    to: State
    raw_attributes: int | None = None
    flags: int = 0
    reserved: tuple[int, ...] = ()
    bad_argument_pointer: bool = False
    mode: str = ""


class GetState(Args, frozen=True, kw_only=True):
    """A probe of the file's map."""

    gmem: str
    offset: Place
    len: Length


class Populate(Args, frozen=True, kw_only=True):
    """KVM_SEV_SNP_LAUNCH_UPDATE, KVM_TDX_INIT_MEM_REGION. `source` null is a NULL pointer, `bogus` no page type."""

    gpa: int
    len: int
    source: Byte | None
    type: Literal["normal", "vmsa", "zero", "unmeasured", "secrets", "cpuid", "bogus"] = "normal"
    flags: int = 0
    source_misaligned: bool = False
    bad_argument_pointer: bool = False


class LaunchFinish(Args, frozen=True, kw_only=True):
    """KVM_SEV_SNP_LAUNCH_FINISH, KVM_TDX_FINALIZE_VM."""


class ZapStage2(Args, frozen=True, kw_only=True):
    """Drop the guest's mappings of a range, as an invalidation of unrelated cause would."""

    gpa: Place
    len: Length


class Stage2Mapped(Args, frozen=True, kw_only=True):
    """Whether a page of the guest is mapped."""

    gpa: Place


class EventCount(Args, frozen=True, kw_only=True):
    """Events of the log so far, of a guest address or of an offset of a file (the only one if none is named)."""

    event: Literal["arch_prepare_called", "rmp_make_private", "arch_make_shared", "folio_cleared"]
    gpa: Place | None = None
    gmem: str | None = None
    offset: Place | None = None


# -- control -------------------------------------------------------------------------------------


class Parallel(Args, frozen=True, kw_only=True):
    """Every branch on a task of its own; `branches` are decoded with the steps."""


class Loop(Args, frozen=True, kw_only=True):
    """The steps again and again; `steps` are decoded with the steps."""

    count: Rounds


class Yield(Args, frozen=True, kw_only=True):
    """Others may run."""


class SignalPending(Args, frozen=True, kw_only=True):
    """A signal arrives just as the actor's next operation enters the kernel."""


#: Every operation by its name in a vector.
ARGUMENTS: Final[dict[str, type[Args]]] = {_spelling(kind.__name__): kind for kind in Args.__subclasses__()}

#: What only a vCPU does.
VCPU_OPERATIONS: Final = frozenset(
    {"guest_read", "guest_write", "guest_read_loop", "guest_write_loop", "resume", "map_gpa", "pre_fault"}
)
