"""Stage-2 page tables: which guest frame is mapped to which host frame.

SNP, SEV, software-protected and plain VMs have one table for both kinds of memory; a VM with a mirror root (TDX)
has one per kind, which is why a zap filter selects only there (guest-memfd.md 1.3).

A table holds its present leaves by the first gfn that they map: a 2 MiB leaf stands at an aligned gfn, alone for all
512. Nothing else may then stand in its range, neither leaf nor page-table page; who writes entries sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.observed import announces, by_key
from ..engine.op import ALL

if TYPE_CHECKING:
    from .folio import Folio

PG_LEVEL_4K: Final = 1
PG_LEVEL_2M: Final = 2
PG_LEVEL_1G: Final = 3

#: `pfn` of an entry that a task is about to publish (`is_frozen_spte`).
FROZEN: Final = -1


def level_pages(level: int) -> int:
    """4 KiB pages that an entry of that level maps (`KVM_PAGES_PER_HPAGE`)."""
    return 1 << 9 * (level - 1)


def align(gfn: int, level: int) -> tuple[int, int]:
    """The aligned range of that level that `gfn` lies in: first gfn, one past the last."""
    shift = 9 * (level - 1)
    low = gfn >> shift << shift
    return low, low + (1 << shift)


class Spte(NamedTuple):
    """A present leaf: frame, level (1 = 4K), kind, and the folio for the oracles (None: not guest_memfd)."""

    pfn: int
    level: int
    private: bool
    folio: Folio | None


def _below(key: tuple[int, int]) -> tuple[int, int]:
    """The gfns below a page-table page, by its level and number."""
    shift = 9 * (key[0] - 1)
    return key[1] << shift, key[1] + 1 << shift


_LEAVES: Final = by_key(lambda stage2: stage2.label)
_TABLES: Final = by_key(lambda stage2: stage2.table_label, _below)


@announces(
    large=lambda stage2: (f"{stage2.label}.large", 0, ALL),
    _private=_LEAVES,
    _shared=_LEAVES,
    _private_tables=_TABLES,
    _shared_tables=_TABLES,
)
class Stage2:
    """The tables of one VM.

    Attributes:
        label, table_label: objects of the steps on leaves and on page-table pages; ranges are gfns.
        mirrored: private mappings have a table of their own.
        large: a leaf above 4 KiB was installed since all roots were last cleared. While it is not, every look-up is
            one of the gfn itself.
        line_cpus: who wrote a line of 8 entries last, by its place and level (timed runs with `Engine.cpus`).
    """

    __slots__ = (
        "_private", "_private_tables", "_shared", "_shared_tables", "label", "large",
        "line_cpus", "mirrored", "table_label",
    )  # fmt: skip

    def __init__(self, vm: str, mirror_root: bool) -> None:
        self.label = f"{vm}.spte"
        self.table_label = f"{vm}.tables"
        self.mirrored = mirror_root
        self.large = False
        self._shared: dict[int, Spte] = {}
        self.line_cpus: dict[int, int] = {}
        self._private: dict[int, Spte] = {} if mirror_root else self._shared
        self._shared_tables: set[tuple[int, int]] = set()
        self._private_tables: set[tuple[int, int]] = set() if mirror_root else self._shared_tables

    def root(self, private: bool) -> dict[int, Spte]:
        """The table that holds mappings of that kind."""
        return self._private if private else self._shared

    def tables(self, private: bool) -> set[tuple[int, int]]:
        """Page-table pages under that root, as (level, gfn >> 9 * (level - 1)) for levels 4, 3 and 2.

        Entry (2, n) is the page whose 4 KiB leaves are gfns [n << 9, (n + 1) << 9).
        """
        return self._private_tables if private else self._shared_tables

    def clear(self) -> None:
        """Every direct root becomes obsolete: its leaves and tables go. What a mirror root maps stays."""
        self._shared.clear()
        self._shared_tables.clear()
        if self.large and not self.mirrored:
            self.large = False

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

    def covering(self, root: dict[int, Spte], gfn: int) -> tuple[int, Spte] | None:
        """The leaf that maps `gfn`, and where it stands, whatever its level."""
        spte = root.get(gfn)
        if spte is not None:
            return gfn, spte
        if self.large:
            for level in (PG_LEVEL_2M, PG_LEVEL_1G):
                low = align(gfn, level)[0]
                spte = root.get(low)
                if spte is not None and spte.level >= level:
                    return low, spte
        return None

    def find(self, gfn: int, private: bool) -> Spte | None:
        """The translation of `gfn` for an access of that kind: the leaf, its frame that of the gfn itself."""
        root = self.root(private)
        spte = root.get(gfn)
        if spte is None and self.large:
            found = self.covering(root, gfn)
            if found is not None:
                low, spte = found
                if spte.pfn != FROZEN:
                    spte = spte._replace(pfn=spte.pfn + gfn - low)
        return spte if spte is not None and spte.private == private else None
