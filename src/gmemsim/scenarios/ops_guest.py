"""Operations of a vCPU: accesses, acceptance, and what a guest asks of KVM and the VMM."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .op_base import Count, GuestAccess, GuestRange, Index

__all__ = [
    "Accept", "CreateAp", "Hypercall", "PageStateChange", "Prefault", "Read", "Touch", "Write",
]  # fmt: skip

#: Of a page of the tables: 1 = 4 KiB, 2 = 2 MiB.
Level = Annotated[int, Meta(ge=1, le=2)]


class Touch(GuestAccess, frozen=True, kw_only=True):
    """Access every page; a store if `write` is given. Only outcomes are kept."""

    write: str | None = None


class Read(GuestAccess, frozen=True, kw_only=True):
    """Load every page and keep the values.

    Attributes:
        sees: values that a load may see; any other makes the outcome `other_value`.
    """

    sees: tuple[str, ...] = ()


class Write(GuestAccess, frozen=True, kw_only=True):
    """Store `value` to every page; `{task}`, `{round}` and `{page}` in it are filled in."""

    value: str


class Accept(GuestRange, frozen=True, kw_only=True):
    """Make private pages usable: PVALIDATE, TDG.MEM.PAGE.ACCEPT.

    Attributes:
        level: 2 asks for 2 MiB at a time where the range has an aligned one of which nothing was accepted, and for
            4 KiB if hardware has it in smaller pieces. Pages that were accepted are left out then.
    """

    level: Level = 1


class CreateAp(GuestRange, frozen=True, kw_only=True):
    """SNP: the guest makes the page at the range's start a save area (VMSA), and a vCPU is to go on with it.

    Attributes:
        target: number of that vCPU; default: the one that asks.
    """

    target: Index | None = None


class Prefault(GuestRange, frozen=True, kw_only=True):
    """KVM_PRE_FAULT_MEMORY on the whole range; `flags` are passed on, `bad_pointer`: its argument cannot be read."""

    address: int | None = None
    size: int | None = None
    flags: int = 0
    bad_pointer: bool = False


class Hypercall(GuestRange, frozen=True, kw_only=True):
    """The guest asks for the range to become private or shared, and the VMM converts it.

    Attributes:
        private: what it is to become.
        attempts: how often the VMM calls when pages are in use (-EAGAIN) before it tells the guest so.
    """

    private: bool
    attempts: Count = 64


class PageStateChange(GuestRange, frozen=True, kw_only=True):
    """SNP: the guest asks for many pages at once, in a buffer of entries that KVM takes to the VMM range by range.

    Attributes:
        private: what they are to become.
        level: 2 makes entries of 2 MiB where the range has aligned ones.
        done: pages of the first entry that the buffer says are done.
        attempts: as for `hypercall`, for each range.
    """

    private: bool
    level: Level = 1
    done: Index = 0
    attempts: Count = 64
