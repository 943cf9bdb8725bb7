"""What the arguments of operations are made of: bounded numbers, words, and the struct that all of them are."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "Access",
    "Args",
    "Attribute",
    "Byte",
    "FileFlag",
    "Length",
    "Mode",
    "Place",
    "Rounds",
    "SlotFlag",
    "State",
]

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


class Args(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation is given."""
