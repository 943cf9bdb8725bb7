"""What a comparison reports: one row a kind of change, with how often and where it was seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from .projection import page_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KINDS", "Change", "Tally", "sort_changes"]

#: Kinds of change, in the order of a report.
KINDS = ("count", "order", "value", "operation", "actor", "sequence", "interleaving")


class Change(msgspec.Struct, frozen=True):
    """One kind of change, not explained by the order of independent steps.

    Attributes:
        kind: what sort of change:
            `count`: the event happens more or less often; `left` and `right` are its totals.
            `order`: within an operation of one task, it stands on the other side of another event.
            `value`: the same event with other values, as `ret=5` and `ret=6`.
            `operation`: it happens in another operation of the same task on the same page.
            `actor`: another task does it to the same page; `left` and `right` are tasks.
            `sequence`: one task does whole operations in another order.
            `interleaving`: on the same page, it stands on the other side of another task's event.
        event: name of the event, with what tells its kind apart, as in `lock vm0.mmu_lock:r`.
        where: the pages, and the tasks if they are few.
        left, right: the two sides.
        count: how many events (`interleaving`: pages) it concerns.
    """

    kind: str
    event: str
    where: str
    left: int | str
    right: int | str
    count: int


@dataclass(slots=True)
class Tally:
    """How often something was seen, and where."""

    count: int = 0
    pages: set[int] = field(default_factory=set)
    actors: set[int] = field(default_factory=set)

    def add(self, count: int, page: int | None, actor: int) -> None:
        self.count += count
        if page is not None:
            self.pages.add(page)
        self.actors.add(actor)

    def where(self, names: list[str]) -> str:
        """`pages 0-63 (64), vcpu0, vcpu1`; actors are counted if there are more than four."""
        parts = [_pages(self.pages)] if self.pages else []
        if len(self.actors) > 4:
            parts.append(f"{len(self.actors)} tasks")
        elif self.actors:
            parts.append(", ".join(names[actor] for actor in sorted(self.actors)))
        return ", ".join(parts)


def _pages(pages: set[int], most: int = 4) -> str:
    """The pages as ranges, in order; the rest is counted if there are more than `most` ranges."""
    runs: list[list[int]] = []
    # Guest frames without a known index are negative, and count downwards.
    for page in sorted(page for page in pages if page >= 0):
        if runs and page == runs[-1][1] + 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    texts += [page_name(page) for page in sorted((page for page in pages if page < 0), reverse=True)]
    shown = ", ".join(texts[:most]) + (", …" if len(texts) > most else "")
    return f"page {shown}" if len(pages) == 1 else f"pages {shown} ({len(pages)})"


def sort_changes(changes: Iterable[Change]) -> tuple[Change, ...]:
    """By kind, the most frequent first."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(
        sorted(
            changes,
            key=lambda change: (
                rank[change.kind],
                -change.count,
                change.event,
                str(change.left),
                str(change.right),
            ),
        )
    )
