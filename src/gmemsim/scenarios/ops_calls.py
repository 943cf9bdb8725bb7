"""Operations on processes and placement, questions to KVM, and arguments of calls that are there to be refused."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .op_base import GuestRange, Ident, MapBytes, MapRange, Op

__all__ = [
    "CheckExtension", "Exit", "FileMode", "Fork", "GetMempolicy", "Mbind", "MovePages", "PopulateType", "RawRegion",
    "Stat", "Zap",
]  # fmt: skip

#: Bits of fallocate's mode beside KEEP_SIZE and PUNCH_HOLE.
FileMode = Literal["NO_HIDE_STALE", "COLLAPSE_RANGE", "ZERO_RANGE", "INSERT_RANGE", "UNSHARE_RANGE"]
#: Page types of SNP_LAUNCH_UPDATE; `vmsa` is not for userspace, `bogus` is none.
PopulateType = Literal["normal", "vmsa", "zero", "unmeasured", "secrets", "cpuid", "bogus"]


class RawRegion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words of `struct kvm_userspace_memory_region2` as they are, bytes each.

    Attributes:
        address, size, offset: in place of what the slot says.
        userspace_addr: checked as an address; what memory is there is still the slot's matter.
        flags: names without KVM_MEM_; bits without a name are `bit3` and so on.
        other_file: the descriptor is of another kind of file.
        v1: KVM_SET_USER_MEMORY_REGION, which knows neither the flag nor the file.
    """

    address: int | None = None
    size: int | None = None
    offset: int | None = None
    userspace_addr: int = 0
    flags: tuple[str, ...] | None = None
    other_file: bool = False
    v1: bool = False


class Stat(Op, frozen=True, kw_only=True):
    """fstat(2): the values are size, block size and inode number."""

    file: Ident


class CheckExtension(Op, frozen=True, kw_only=True):
    """KVM_CHECK_EXTENSION: the values are names of flags or attributes, or a number."""

    extension: Literal[
        "GUEST_MEMFD", "GUEST_MEMFD_FLAGS", "MEMORY_ATTRIBUTES", "GUEST_MEMFD_MEMORY_ATTRIBUTES"
    ]


class Fork(Op, frozen=True, kw_only=True):
    """fork(2): from then on tasks of that `process` have copies of the caller's mappings and descriptors."""

    process: Ident = "child"


class Exit(Op, frozen=True, kw_only=True):
    """_exit(2) of the task's process, which a `fork` made: its mappings go, then its descriptors."""


class Mbind(MapBytes, frozen=True, kw_only=True):
    """mbind(2): the policy belongs to the file's pages, not to the mapping."""

    policy: str
    nodes: tuple[Annotated[int, Meta(ge=0)], ...] = ()


class GetMempolicy(MapRange, frozen=True, kw_only=True):
    """get_mempolicy(2) of the first page of the range: the values are the policy and its nodes."""


class MovePages(MapRange, frozen=True, kw_only=True):
    """move_pages(2) without nodes: the values are the node of every page, or the errno in its place."""


class NxHugePages(Op, frozen=True, kw_only=True):
    """Root writes another value to kvm's parameter nx_huge_pages: every root of every VM becomes obsolete."""


class Zap(GuestRange, frozen=True, kw_only=True):
    """Drop the guest's mappings of the range, as an invalidation of unrelated cause would."""
