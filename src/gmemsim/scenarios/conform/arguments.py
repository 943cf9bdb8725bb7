"""The arguments of every operation of a vector, one struct each: what `args` may hold, and of which type.

Numbers that go to a call are any integer, since a vector may ask for what must fail; lengths of plain memory accesses
are bounded. Sizes, offsets and addresses are bytes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from .argument_types import (
    Args,
    Byte,
    FileFlag,
    Length,
    Mode,
    Place,
    Rounds,
    SlotFlag,
)
from .arguments_guest import (
    Convert,
    EventCount,
    GetState,
    GuestRead,
    GuestReadLoop,
    GuestWrite,
    GuestWriteLoop,
    LaunchFinish,
    MapGpa,
    Populate,
    PreFault,
    Resume,
    SetAttributes,
    Stage2Mapped,
    ZapStage2,
)

__all__ = [
    "ARGUMENTS", "VCPU_OPERATIONS", "Args", "Bind", "BindV1", "CheckCap", "Close", "Convert", "Create",
    "ErrorInject", "EventCount", "Exit", "Fallocate", "Fork", "Ftruncate", "GetMempolicy", "GetState",
    "GuestRead", "GuestReadLoop", "GuestWrite", "GuestWriteLoop", "HostRead", "HostWrite", "Ioctl",
    "LaunchFinish", "Loop", "Madvise", "MapGpa", "Mbind", "Mmap", "MovePagesQuery", "Munmap", "Parallel", "Pin",
    "Populate", "PreFault", "Pread", "PunchHole", "Pwrite", "Read", "Resume", "SetAttributes", "SignalPending",
    "Stage2Mapped", "Stat", "Unbind", "Unpin", "Unpoison", "VmClose", "Write", "Yield", "ZapStage2",
]  # fmt: skip


def _spelling(cls: str) -> str:
    """`PunchHole` is `punch_hole`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in cls).lstrip("_")


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
