"""Stage-2 page tables: which guest frame is mapped to which host frame.

SNP, SEV, software-protected and plain VMs have one table for both kinds of memory; a VM with a mirror root (TDX)
has one per kind, which is why a zap filter selects only there (spec §1.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .folio import Folio

__all__ = ["Spte", "Stage2"]


class Spte(NamedTuple):
    """A present leaf: frame, level (1 = 4K), kind, and the folio for the oracles (None: not guest_memfd)."""

    pfn: int
    level: int
    private: bool
    folio: Folio | None


class Stage2:
    """The tables of one VM."""

    __slots__ = ("_private", "_private_tables", "_shared", "_shared_tables", "label")

    def __init__(self, label: str, mirror_root: bool) -> None:
        self.label = label
        self._shared: dict[int, Spte] = {}
        self._private: dict[int, Spte] = {} if mirror_root else self._shared
        self._shared_tables: set[tuple[int, int]] = set()
        self._private_tables: set[tuple[int, int]] = set() if mirror_root else self._shared_tables

    @property
    def mirrored(self) -> bool:
        return self._private is not self._shared

    def root(self, private: bool) -> dict[int, Spte]:
        """The table that holds mappings of that kind."""
        return self._private if private else self._shared

    def tables(self, private: bool) -> set[tuple[int, int]]:
        """Page-table pages under that root, as (level, gfn >> 9 * (level - 1)) for levels 4, 3 and 2.

        Entry (2, n) is the page whose 4 KiB leaves are gfns [n << 9, (n + 1) << 9).
        """
        return self._private_tables if private else self._shared_tables

    def clear(self) -> None:
        """Every root becomes obsolete: all leaves and tables go."""
        for leaves in (self._shared, self._private):
            leaves.clear()
        for tables in (self._shared_tables, self._private_tables):
            tables.clear()

    def roots(self, kinds: str) -> list[dict[int, Spte]]:
        """Tables that a zap with filter `kinds` (private, shared, both) walks."""
        if not self.mirrored:
            return [self._shared]
        wanted = []
        if kinds in ("private", "both"):
            wanted.append(self._private)
        if kinds in ("shared", "both"):
            wanted.append(self._shared)
        return wanted

    def all(self) -> list[tuple[int, Spte]]:
        """Every present leaf, in gfn order, private before shared."""
        leaves = list(self._private.items())
        if self.mirrored:
            leaves += self._shared.items()
        return sorted(leaves, key=lambda leaf: (leaf[0], not leaf[1].private))

    def find(self, gfn: int, private: bool) -> Spte | None:
        """The leaf that an access of that kind would use."""
        spte = self.root(private).get(gfn)
        return spte if spte is not None and spte.private == private else None
