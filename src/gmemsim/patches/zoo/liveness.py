"""Seeded bugs that let work go on for ever."""

from __future__ import annotations

from .entry import missing

__all__ = ["BUGS"]


BUGS = (
    missing(
        "invalid-slot-treated-as-mmio",
        "an MMIO exit while the slot is deleted cannot be told from the one after the deletion, and slots do not move",
    ),
    missing(
        "pfn-cache-retry-livelock",
        "needs an endless stream of invalidations elsewhere and a bound on retries; runs here are finite",
    ),
    missing(
        "punch-starved-by-faults",
        "an invalidation in progress keeps faults out of the range that is punched; where that is taken away (tried), "
        "a page that left the file stays mapped (I19) before anything starves",
    ),
    missing("rmpupdate-overlap-spin", "needs RMP entries of 2 MiB, which come with huge folios"),
)
