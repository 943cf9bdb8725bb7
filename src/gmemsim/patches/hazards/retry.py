"""The loop that starts again when somebody else inserted first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import Case, Hazard

if TYPE_CHECKING:
    from ..zoo.entry import Make

SEEDS: dict[str, Make] = {}

HAZARDS = (
    Hazard(
        name="13",
        title="Allocation that repeats on -EEXIST",
        question="RFC v1 09/37 had `do { ... } while (-EEXIST)`, as find-or-create has: without bound against punches.",
        cases=(
            Case(
                says="allocation, faults and punches of one page",
                scenario="zoo-alloc_race",
                counts={
                    "look-ups": "filemap_get:create",
                    "lost to another's insertion": "filemap_add_ret:ret=-17",
                },
            ),
        ),
        answer="Every turn needs an insertion by another task and a removal by a third, each a call that ends, so no "
        "livelock is found; the count shows how often a turn was lost. A bound for one task alone does not follow.",
    ),
)
