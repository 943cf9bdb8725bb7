"""Contents of pages, and what the host does to them. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "Copy",
    "Discard",
    "Gup",
    "HostTouch",
    "Pin",
    "PoisonEntry",
    "Sigbus",
    "Unpin",
]


class _HostEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "host"


class HostTouch(_HostEvent, frozen=True, gc=False):
    """A host access to a mapped page; `value` names what was read or written."""

    mirrors: ClassVar[str] = "a load or store of the VMM"
    index: int
    write: bool
    value: str


class Sigbus(_HostEvent, frozen=True, gc=False):
    """A host access got SIGBUS; `hwpoison` tells the machine-check flavour."""

    mirrors: ClassVar[str] = "force_sig_fault(SIGBUS), force_sig_mceerr"
    index: int
    hwpoison: bool


class Gup(_HostEvent, frozen=True, gc=False):
    """A source page is looked up and pinned."""

    mirrors: ClassVar[str] = "get_user_pages_fast"
    page: int
    ret: int


class Copy(_HostEvent, frozen=True, gc=False):
    """Source bytes go into a guest page."""

    mirrors: ClassVar[str] = "copy_from_user, memcpy in the populate callback"
    pfn: int


class Pin(_HostEvent, frozen=True, gc=False):
    """A host user takes a long-term reference on the page."""

    mirrors: ClassVar[str] = "pin_user_pages"
    index: int
    pfn: int


class Unpin(_HostEvent, frozen=True, gc=False):
    """The long-term reference goes."""

    mirrors: ClassVar[str] = "unpin_user_page"
    index: int
    pfn: int


class Discard(_HostEvent, frozen=True, gc=False):
    """madvise(MADV_DONTNEED) or munmap of [start, end)."""

    mirrors: ClassVar[str] = "zap_page_range_single"
    range_of = "index"
    start: int
    end: int
    mapping: str = ""


class PoisonEntry(_HostEvent, frozen=True, gc=False):
    """A memory failure takes a present entry out of a host page table and leaves a poison entry."""

    mirrors: ClassVar[str] = "try_to_unmap_one with TTU_HWPOISON"
    mapping: str
    index: int
