"""The arguments of every operation of a vector, one struct each: what `args` may hold, and of which type.

Numbers that go to a call are any integer, since a vector may ask for what must fail; lengths of plain memory accesses
are bounded. Sizes, offsets and addresses are bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

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
    "KEEP_SIZE", "PUNCH_HOLE", "NO_HIDE_STALE", "COLLAPSE_RANGE", "ZERO_RANGE", "INSERT_RANGE", "UNSHARE_RANGE",
]  # fmt: skip


class Args(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation is given. A class without an underscore is one: `PunchHole` is `punch_hole`."""


class _OfFile(Args, frozen=True, kw_only=True):
    gmem: str


class _Bytes(_OfFile, frozen=True, kw_only=True):
    """Where in the file a call is to begin: the file position for those that have no offset of their own."""

    len: int
    offset: int = 0


class _Range(_OfFile, frozen=True, kw_only=True):
    offset: int
    len: int


class _OfMap(Args, frozen=True, kw_only=True):
    map: str


class _Mapped(_OfMap, frozen=True, kw_only=True):
    offset: Place
    len: Length


class _Guest(Args, frozen=True, kw_only=True):
    gpa: Place
    len: Length
    access: Access = "auto"


# -- files ---------------------------------------------------------------------------------------


class Create(Args, frozen=True, kw_only=True):
    """KVM_CREATE_GUEST_MEMFD. `raw_flags` are bits beside the named ones."""

    size: int
    flags: tuple[FileFlag, ...]
    made: str = msgspec.field(name="as")
    raw_flags: Annotated[int, Meta(ge=0)] = 0


class Close(_OfFile, frozen=True, kw_only=True):
    """close(2)."""


class Stat(_OfFile, frozen=True, kw_only=True):
    """fstat(2)."""


class Read(_Bytes, frozen=True, kw_only=True):
    """read(2)."""


class Pread(_Bytes, frozen=True, kw_only=True):
    """pread(2)."""


class Write(_Bytes, frozen=True, kw_only=True):
    """write(2) of equal bytes."""

    value: Byte = 0


class Pwrite(_Bytes, frozen=True, kw_only=True):
    """pwrite(2) of equal bytes."""

    value: Byte = 0


class Ftruncate(_OfFile, frozen=True, kw_only=True):
    """ftruncate(2)."""

    size: int


class Fallocate(_Range, frozen=True, kw_only=True):
    """fallocate(2)."""

    mode: tuple[Mode, ...]


class PunchHole(_Range, frozen=True, kw_only=True):
    """fallocate(2) with PUNCH_HOLE and KEEP_SIZE."""


class Ioctl(_OfFile, frozen=True, kw_only=True):
    """ioctl(2) with a number that a guest_memfd does not know: `unknown`, or one of another kind of file."""

    number: Literal["unknown", "KVM_RUN", "KVM_CREATE_VM", "KVM_CREATE_GUEST_MEMFD"]


class Convert(_Range, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES2 on the file. `raw_attributes` and `reserved` are words of its argument."""

    to: State
    raw_attributes: int | None = None
    flags: int = 0
    reserved: tuple[int, ...] = ()
    bad_argument_pointer: bool = False
    mode: str = ""


class GetState(_OfFile, frozen=True, kw_only=True):
    """A probe of the file's map."""

    offset: Place
    len: Length


class ErrorInject(_OfFile, frozen=True, kw_only=True):
    """A hardware error in the page at `offset` of the file."""

    offset: Place
    method: Literal["debugfs", "madvise", "kernel", "fd_ioctl_rfc"]
    map: str | None = None
    kill_policy: Literal["early", "late", "default"] = "default"
    mapped: bool | None = None
    dirty: bool = True


class Unpoison(Args, frozen=True, kw_only=True):
    """Take back the last injected error."""

    what: Literal["last"]


# -- slots and the VM ----------------------------------------------------------------------------


class BindV1(Args, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION."""

    slot: int | Literal["max_slots"]
    gpa: int
    size: int
    flags: tuple[SlotFlag, ...]
    userspace_addr: int | str = 0


class Bind(BindV1, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION2. `gmem` null or a negative number is a descriptor that is not open."""

    gmem: str | int | None = None
    gmem_offset: int = 0


class Unbind(Args, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION2 with size 0."""

    slot: int


class VmClose(Args, frozen=True, kw_only=True):
    """close(2) of the VM's descriptor."""


class CheckCap(Args, frozen=True, kw_only=True):
    """KVM_CHECK_EXTENSION."""

    cap: Literal["GUEST_MEMFD", "GUEST_MEMFD_FLAGS", "MEMORY_ATTRIBUTES", "GUEST_MEMFD_MEMORY_ATTRIBUTES"]


class SetAttributes(Args, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES."""

    gpa: int
    len: int
    attributes: tuple[Attribute, ...]
    flags: int = 0


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


# -- host and guests -----------------------------------------------------------------------------


class HostRead(_Mapped, frozen=True, kw_only=True):
    """Loads by the host."""


class HostWrite(_Mapped, frozen=True, kw_only=True):
    """Stores of equal bytes by the host."""

    value: Byte


class Mmap(_Range, frozen=True, kw_only=True):
    """mmap(2) of the file."""

    made: str = msgspec.field(name="as")
    share: Literal["shared", "private"] = "shared"
    prot: Literal["rw", "r"] = "rw"


class Munmap(_OfMap, frozen=True, kw_only=True):
    """munmap(2) of a whole mapping."""


class Madvise(_OfMap, frozen=True, kw_only=True):
    """madvise(2)."""

    offset: int
    len: int
    advice: Literal["DONTNEED", "HUGEPAGE", "COLLAPSE"]


class Pin(_Mapped, frozen=True, kw_only=True):
    """A long-term pin of every page."""


class Unpin(_Mapped, frozen=True, kw_only=True):
    """Give the pins back."""


class Mbind(_Mapped, frozen=True, kw_only=True):
    """mbind(2)."""

    policy: Literal["DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "999"]
    nodes: tuple[int, ...]


class GetMempolicy(_OfMap, frozen=True, kw_only=True):
    """get_mempolicy(2) of one address."""

    offset: Place


class MovePagesQuery(_OfMap, frozen=True, kw_only=True):
    """move_pages(2) without nodes: where pages are."""

    offsets: tuple[Place, ...]


class Fork(Args, frozen=True, kw_only=True):
    """fork(2): the new process is the actor `child`."""

    made: Literal["child"] = msgspec.field(name="as", default="child")


class Exit(Args, frozen=True, kw_only=True):
    """_exit(2) of the actor's process, which nobody waits for."""

    status: int = 0


class GuestRead(_Guest, frozen=True, kw_only=True):
    """Loads by a vCPU."""


class GuestWrite(_Guest, frozen=True, kw_only=True):
    """Stores of equal bytes by a vCPU."""

    value: Byte


class GuestReadLoop(_Guest, frozen=True, kw_only=True):
    """Loads until an access leaves the guest, or `count` times."""

    count: Rounds | None = None


class GuestWriteLoop(_Guest, frozen=True, kw_only=True):
    """Stores until an access leaves the guest, or `count` times."""

    value: Byte
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


def _kinds(base: type[Args]) -> Iterator[tuple[str, type[Args]]]:
    for kind in base.__subclasses__():
        if not kind.__name__.startswith("_"):
            name = "".join(f"_{char.lower()}" if char.isupper() else char for char in kind.__name__)
            yield name.lstrip("_"), kind
        yield from _kinds(kind)


#: Every operation by its name in a vector.
ARGUMENTS: Final[dict[str, type[Args]]] = dict(_kinds(Args))
#: What only a vCPU does.
VCPU_OPERATIONS: Final = frozenset(
    {"guest_read", "guest_write", "guest_read_loop", "guest_write_loop", "resume", "map_gpa", "pre_fault"}
)
