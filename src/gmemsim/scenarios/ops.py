"""The operations of a workload, one struct each: what `ops = [{op = "...", ...}]` may hold.

Ranges are in pages of 4 KiB. Guest ranges count from the slot's first frame, file ranges from the start of
the file, map ranges from the start of the mapping; left out, the range is the whole slot, file or mapping.
Raw byte addresses (`address`, `offset`) go to the kernel unchecked, for what must fail.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from .op_base import (
    Count,
    FileRange,
    GuestAccess,
    GuestRange,
    HostAccess,
    Ident,
    Index,
    MapBytes,
    MapRange,
    Op,
    PageRange,
)
from .ops_calls import (
    CheckExtension,
    Exit,
    FileMode,
    Fork,
    GetMempolicy,
    Mbind,
    MovePages,
    NxHugePages,
    PopulateType,
    RawRegion,
    Stat,
    Zap,
)
from .ops_guest import Accept, CreateAp, Hypercall, PageStateChange, Prefault, Read, Touch, Write

__all__ = [
    "ALIASES", "OPS", "Accept", "Allocate", "AnyOp", "Barrier", "Bind", "CheckExtension", "Close", "Collapse",
    "Convert", "Create", "CreateAp", "Exit", "FileIoctl", "FileRange", "FileRead", "FileWrite", "Fork", "Ftruncate",
    "GetMempolicy", "GuestAccess", "GuestRange", "HostAccess", "HostRead", "HostTouch", "HostWrite", "Hypercall",
    "LaunchFinish", "Madvise", "MapBytes", "MapRange", "Mbind", "MemoryFailure", "Migrate", "Mmap", "MovePages",
    "Munmap", "NxHugePages", "Op", "PageRange", "PageStateChange", "Pin", "Populate", "Prefault", "Punch", "RawRegion",
    "Read", "SetAttributes", "SetFileAttributes", "Signal", "SignalPending", "Sleep", "SoftOffline", "Stat", "Touch",
    "Unbind", "Unpin", "Write", "Zap", "canonical",
]  # fmt: skip


# -- host mappings -------------------------------------------------------------------------------


class HostTouch(HostAccess, frozen=True, kw_only=True):
    """Access every page of the mapping; a store if `write` is given. Only outcomes are kept."""

    write: str | None = None


class HostRead(HostAccess, frozen=True, kw_only=True):
    """Load every page and keep the values.

    Attributes:
        sees: values that a load may see; any other makes the outcome `other_value`.
    """

    sees: tuple[str, ...] = ()


class HostWrite(HostAccess, frozen=True, kw_only=True):
    """Store `value` to every page."""

    value: str


class Mmap(Op, frozen=True, kw_only=True):
    """Map what the `[[map]]` describes; `offset` and `length` (bytes) override that, unchecked."""

    map: Ident
    shared: bool = True
    offset: int | None = None
    length: int | None = None


class Munmap(Op, frozen=True, kw_only=True):
    """Remove a mapping."""

    map: Ident


class Madvise(MapBytes, frozen=True, kw_only=True):
    """MADV_DONTNEED; or MADV_HUGEPAGE, which marks the mapping and is nothing to the file."""

    advice: Literal["DONTNEED", "HUGEPAGE"] = "DONTNEED"


class Collapse(MapBytes, frozen=True, kw_only=True):
    """MADV_COLLAPSE."""


class Pin(MapRange, frozen=True, kw_only=True):
    """A long-term pin of every page (`pin_user_pages`)."""


class Unpin(MapRange, frozen=True, kw_only=True):
    """Give back the pins of every page."""


# -- files ---------------------------------------------------------------------------------------


class Create(Op, frozen=True, kw_only=True):
    """KVM_CREATE_GUEST_MEMFD, as the `[[file]]` describes it; `size` (bytes) overrides that, unchecked."""

    file: Ident
    size: int | None = None


class Close(Op, frozen=True, kw_only=True):
    """Close the descriptor."""

    file: Ident


class _Fallocate(FileRange, frozen=True, kw_only=True):
    """`modes` are further bits of the mode, which guest_memfd refuses."""

    keep_size: bool = True
    modes: tuple[FileMode, ...] = ()


class Allocate(_Fallocate, frozen=True, kw_only=True):
    """fallocate."""


class Punch(_Fallocate, frozen=True, kw_only=True):
    """fallocate with PUNCH_HOLE."""


class FileWrite(FileRange, frozen=True, kw_only=True):
    """write(2) of `value` to every page; -EINVAL where the patch version has no such call.

    Attributes:
        positioned: pwrite(2) instead.
    """

    value: str
    positioned: bool = False


class FileRead(FileRange, frozen=True, kw_only=True):
    """read(2) of every page; -EINVAL, since the file has no such call. `positioned`: pread(2) instead."""

    positioned: bool = False


class Ftruncate(Op, frozen=True, kw_only=True):
    """ftruncate(2) to `size` bytes; -EINVAL, since the size is fixed at creation."""

    file: Ident
    size: int


class FileIoctl(Op, frozen=True, kw_only=True):
    """An ioctl on the file whose number nothing in KVM has; -ENOTTY."""

    file: Ident


class Migrate(FileRange, frozen=True, kw_only=True):
    """The core moves every present folio of the range to another frame; -EINVAL where it may not."""


class MemoryFailure(FileRange, frozen=True, kw_only=True):
    """A hardware memory error in every page of the range that is present."""


class SoftOffline(FileRange, frozen=True, kw_only=True):
    """The core takes every page of the range that is present out of use before it fails (soft_offline_page)."""


class SetFileAttributes(FileRange, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES2 on the file, in place; -ENOTTY where the patch version has no such call.

    Attributes:
        attempts: calls while it answers -EAGAIN.
        flags, attributes, reserved: passed on as they are; `attributes` in place of what `private` says.
        bad_pointer: the argument cannot be read: -EFAULT.
    """

    private: bool
    attempts: Count = 1
    flags: int = 0
    attributes: int | None = None
    reserved: tuple[int, ...] = ()
    bad_pointer: bool = False


# -- the VM --------------------------------------------------------------------------------------


class Bind(Op, frozen=True, kw_only=True):
    """KVM_SET_USER_MEMORY_REGION2, as the `[[slot]]` describes it; `raw` overrides that, unchecked."""

    slot: Index
    raw: RawRegion | None = None


class Unbind(Op, frozen=True, kw_only=True):
    """Delete a memslot."""

    slot: Index


class SetAttributes(GuestRange, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES on the VM; `address` and `size` (bytes) are not checked.

    Attributes:
        flags: passed on as they are.
        attributes: bits of the word in place of what `private` says.
    """

    private: bool
    address: int | None = None
    size: int | None = None
    flags: int = 0
    attributes: int | None = None


class Convert(GuestRange, frozen=True, kw_only=True):
    """Convert by the call that the patch version has for it, be it per file or per VM."""

    private: bool


class Populate(GuestRange, frozen=True, kw_only=True):
    """SNP_LAUNCH_UPDATE, KVM_TDX_INIT_MEM_REGION.

    Attributes:
        source: content of the source pages; left out: no source (a NULL pointer).
        offset: byte offset of the source in its page.
        unmapped: page numbers of the source that are not mapped.
        process: whose memory the source is.
        type: of SNP's pages; the model tells `zero`, which takes no source, from the others.
        flags: passed on as they are.
        address, size: bytes, not checked.
        bad_pointer: the argument cannot be read: -EFAULT.
    """

    source: str | None = None
    offset: Annotated[int, Meta(ge=0, lt=4096)] = 0
    unmapped: tuple[Index, ...] = ()
    process: Ident = "vmm"
    type: PopulateType = "normal"
    flags: int = 0
    address: int | None = None
    size: int | None = None
    bad_pointer: bool = False


class LaunchFinish(Op, frozen=True, kw_only=True):
    """SNP_LAUNCH_FINISH, KVM_TDX_FINALIZE_VM."""


# -- control -------------------------------------------------------------------------------------


class Sleep(Op, frozen=True, kw_only=True):
    """Let time pass."""

    time: int | str


class Signal(Op, frozen=True, kw_only=True):
    """Send a signal to a task; it ends a system call of that task, and is lost if there is none."""

    task: str


class SignalPending(Op, frozen=True, kw_only=True):
    """A signal arrives just as the next operation of this task enters the kernel."""


class Barrier(Op, frozen=True, kw_only=True):
    """Wait until every task that has this barrier is at it."""

    barrier: Ident


AnyOp = (
    Touch | Read | Write | Accept | CreateAp | Prefault | Hypercall | PageStateChange
    | HostTouch | HostRead | HostWrite | Mmap | Munmap | Madvise | Collapse | Pin | Unpin
    | Create | Close | Allocate | Punch | FileRead | FileWrite | Ftruncate | FileIoctl | Migrate
    | MemoryFailure | SoftOffline | SetFileAttributes
    | Bind | Unbind | SetAttributes | Convert | Populate | LaunchFinish
    | Stat | CheckExtension | Fork | Exit | Mbind | GetMempolicy | MovePages | NxHugePages | Zap
    | Sleep | Signal | SignalPending | Barrier
)  # fmt: skip

#: Every operation by the name it has in a scenario.
OPS: dict[str, type[Op]] = {}


def _collect(cls: type[Op]) -> None:
    for sub in cls.__subclasses__():
        if sub.__subclasses__():
            _collect(sub)
        else:
            OPS[str(sub.__struct_config__.tag)] = sub


_collect(Op)

#: Names of the same operations in the conformance vectors.
ALIASES: dict[str, str] = {
    "error_inject": "memory_failure",
    "fallocate": "allocate",
    "guest_accept": "accept",
    "guest_read": "read",
    "guest_write": "write",
    "pre_fault": "prefault",
    "punch_hole": "punch",
}


def canonical(op: Any) -> Any:
    """The operation with its name in place of an alias; anything that is no operation comes back as it is."""
    if isinstance(op, dict):
        name = op.get("op")
        if isinstance(name, str) and name in ALIASES:
            return {**op, "op": ALIASES[name]}
    return op
