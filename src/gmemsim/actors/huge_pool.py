"""The HugeTLB side of huge folios: sizes, a file's subpool, the stash of split pages (guest-memfd.md 2, 4.1, 4.15)."""

from __future__ import annotations

from typing import Final

from ..arch.memory import FREE_LIST
from ..engine.observed import announces, by_key
from ..engine.op import ALL

#: log2 of the 4 KiB pages of a folio.
ORDER_2M: Final = 9
ORDER_1G: Final = 18

#: The order that a flag of KVM_CREATE_GUEST_MEMFD asks for; HUGETLB alone means x86's default size.
FLAG_ORDERS: Final[dict[str, int]] = {"HUGETLB_2M": ORDER_2M, "HUGETLB_1G": ORDER_1G}


def order_of(flags: frozenset[str]) -> int:
    """Order of a file's folios, 0 without huge pages, -1 if the flags contradict each other.

    A size without HUGETLB, or two sizes, are errors (our choice: the sources encode the size in bits of one field,
    where neither can be written).
    """
    sizes = [order for flag, order in FLAG_ORDERS.items() if flag in flags]
    if "HUGETLB" not in flags:
        return -1 if sizes else 0
    return -1 if len(sizes) > 1 else sizes[0] if sizes else ORDER_2M


@announces(
    used=lambda pool: (FREE_LIST, 0, ALL),
    stash=by_key(lambda pool: "hugetlb.stash"),
)
class Subpool:
    """Huge pages that were reserved for one file when it was created.

    Attributes:
        order: log2 of the 4 KiB pages of each.
        size: huge pages reserved.
        used: huge pages taken out of it, those in the page cache and those whose pages are still referenced.
        stash: per split huge page, by its first frame, how many of its 4 KiB pages have come back.
    """

    __slots__ = ("order", "size", "stash", "used")

    def __init__(self, order: int, size: int) -> None:
        self.order = order
        self.size = size
        self.used = 0
        self.stash: dict[int, int] = {}
