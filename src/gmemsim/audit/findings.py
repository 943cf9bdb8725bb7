"""Collecting what changed in operations, and summing it up over pages and tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import TYPE_CHECKING

from .changes import Change, Tally
from .operations import Delta, compare_operations, match_operations
from .roles import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .identity import Code
    from .operations import Move
    from .projection import Projection, Projector

__all__ = ["Findings"]

#: Where and by whom something happened, and how often.
Sighting = tuple[int | None, int, int]


class Findings:
    """Differences between the operations of two projections."""

    def __init__(self, projector: Projector, left: Projection, right: Projection) -> None:
        self._projector = projector
        self._codes = projector.coder.codes
        self._totals = (self._events(left), self._events(right))
        self._moves: defaultdict[tuple[str, str, str, bool, bool], Tally] = defaultdict(Tally)
        self._values: defaultdict[tuple[str, str, str], Tally] = defaultdict(Tally)
        # By `Code.anywhere`: the same event on any page.
        self._gone: defaultdict[int, list[Sighting]] = defaultdict(list)
        self._new: defaultdict[int, list[Sighting]] = defaultdict(list)
        for (old, new), groups in self._pairs(left, right).items():
            self._note(self._delta(old, new), groups)

    def _events(self, side: Projection) -> Counter[str]:
        """Number of events by `Code.text`."""
        contents: Counter[int] = Counter()
        for group in side.groups.values():
            contents.update(group)
        codes: Counter[int] = Counter()
        for content, count in contents.items():
            for code in self._projector.contents[content]:
                codes[code] += count
        texts: Counter[str] = Counter()
        for code, count in codes.items():
            texts[self._codes[code].text] += count
        return texts

    def _pairs(
        self, left: Projection, right: Projection
    ) -> dict[tuple[int | None, int | None], Counter[int]]:
        """Operations that correspond and differ, with the groups in which they do and how often."""
        contents = self._projector.contents
        codes = self._codes

        @cache
        def outcome(content: int) -> object:
            # How it ended, and why it gave up if it did.
            steps = [codes[code] for code in contents[content]]
            return steps[-1].anywhere, tuple(step.text for step in steps if step.name == "retry")

        known: dict[tuple[tuple[int, ...], tuple[int, ...]], Counter[tuple[int | None, int | None]]] = {}
        found: defaultdict[tuple[int | None, int | None], Counter[int]] = defaultdict(Counter)
        for group in left.groups.keys() | right.groups.keys():
            old, new = tuple(left.groups.get(group, ())), tuple(right.groups.get(group, ()))
            if old == new:
                continue
            pairs = known.get((old, new))
            if pairs is None:
                pairs = known[old, new] = Counter(match_operations(old, new, outcome))
            for pair, count in pairs.items():
                found[pair][group] += count
        return found

    def _delta(self, old: int | None, new: int | None) -> Delta:
        contents = self._projector.contents
        if old is None or new is None:
            nothing: tuple[int, ...] = ()
            return Delta(
                (),
                (),
                nothing if old is None else contents[old],
                nothing if new is None else contents[new],
            )
        return compare_operations(contents[old], contents[new], self._codes)

    def _note(self, delta: Delta, groups: Counter[int]) -> None:
        codes = self._codes
        for move in delta.moves:
            tally = self._moves[self._named(move)]
            for sighting in self._seen(codes[move.code], groups):
                tally.add(sighting[2], sighting[0], sighting[1])
        for old, new in delta.changes:
            left, right = _difference(codes[old], codes[new])
            tally = self._values[codes[old].text, left, right]
            for sighting in self._seen(codes[old], groups):
                tally.add(sighting[2], sighting[0], sighting[1])
        for events, sightings in ((delta.gone, self._gone), (delta.new, self._new)):
            for code, count in Counter(events).items():
                seen = sightings[codes[code].anywhere]
                seen += [(page, actor, n * count) for page, actor, n in self._seen(codes[code], groups)]

    def _seen(self, code: Code, groups: Counter[int]) -> Iterator[Sighting]:
        """Page and actor of an event of operations of these groups."""
        projector = self._projector
        for number, count in groups.items():
            yield projector.page_in(number, code.page), projector.groups[number].actor, count

    def _named(self, move: Move) -> tuple[str, str, str, bool, bool]:
        codes = self._codes
        return (
            codes[move.code].text,
            codes[move.first].text,
            codes[move.last].text,
            move.later,
            move.single,
        )

    # -- the result ----------------------------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """Everything found, summed up."""
        names = self._projector.actors
        ordered: defaultdict[tuple[str, str, str], Tally] = defaultdict(Tally)
        for key, tally in self._moves.items():
            total = ordered[self._order(*key)]
            total.count += tally.count
            total.pages |= tally.pages
            total.actors |= tally.actors
        for (event, left, right), tally in ordered.items():
            yield Change("order", event, tally.where(names), left, right, tally.count)
        for (event, left, right), tally in self._values.items():
            yield Change("value", event, tally.where(names), left, right, tally.count)
        yield from self._comings_and_goings()

    def _order(self, text: str, first: str, last: str, later: bool, single: bool) -> tuple[str, str, str]:
        """Event, and where it stood on the left and right."""
        before, after = ("before", "after") if later else ("after", "before")
        if single and self._worth(first) > self._worth(text):
            # Of two events that swapped places, the more telling one is said to have moved.
            return first, f"{after} {text}", f"{before} {text}"
        near, far = (first, last) if later else (last, first)
        return text, f"{before} {near}", f"{after} {far}"

    def _worth(self, text: str) -> int:
        """How much an event's name says about a change: most if its number changed, least if it is a lock."""
        left, right = self._totals
        return 2 * (left[text] != right[text]) + (not text.startswith(("lock ", "unlock ")))

    def _comings_and_goings(self) -> Iterator[Change]:
        """Events of one side only, apart from what another task or operation did to the same page."""
        names = self._projector.actors
        anywhere = self._projector.coder.anywhere
        counts: defaultdict[str, Tally] = defaultdict(Tally)
        within: defaultdict[str, Tally] = defaultdict(Tally)
        across: defaultdict[str, defaultdict[tuple[int, int], Tally]]
        across = defaultdict(lambda: defaultdict(Tally))
        for number in self._gone.keys() | self._new.keys():
            text = self._codes[anywhere[number]].text
            gone, new = self._gone.get(number, []), self._new.get(number, [])
            if gone and new:
                gone, new = _net(gone, new, within[text], across[text])
            for page, actor, count in (*gone, *new):
                counts[text].add(count, page, actor)
        left, right = self._totals
        for text, tally in counts.items():
            if tally.count:
                yield Change("count", text, tally.where(names), left[text], right[text], tally.count)
        for text, tally in within.items():
            if tally.count:
                sides = ("one operation", "another operation")
                yield Change("operation", text, tally.where(names), *sides, tally.count)
        for text, pairs in across.items():
            for (old, fresh), tally in pairs.items():
                where = Tally(pages=tally.pages).where(names) or "no single page"
                yield Change("actor", text, where, names[old], names[fresh], tally.count)


def _net(
    gone: list[Sighting], new: list[Sighting], within: Tally, across: dict[tuple[int, int], Tally]
) -> tuple[list[Sighting], list[Sighting]]:
    """Set off what came against what went on the same page; the rest."""
    lost: defaultdict[int | None, Counter[int]] = defaultdict(Counter)
    gained: defaultdict[int | None, Counter[int]] = defaultdict(Counter)
    for sightings, side in ((gone, lost), (new, gained)):
        for page, actor, count in sightings:
            side[page][actor] += count
    for page in lost.keys() & gained.keys():
        old, fresh = lost[page], gained[page]
        for actor in sorted(old.keys() & fresh.keys()):
            count = min(old[actor], fresh[actor])
            within.add(count, page, actor)
            old[actor] -= count
            fresh[actor] -= count
        for actor, other in ((a, b) for a in sorted(old) for b in sorted(fresh)):
            count = min(old[actor], fresh[other])
            if count:
                across[actor, other].add(count, page, actor)
                old[actor] -= count
                fresh[other] -= count
    rest = [
        [(page, actor, count) for page, side in sides.items() for actor, count in side.items() if count]
        for sides in (lost, gained)
    ]
    return rest[0], rest[1]


def _difference(old: Code, new: Code) -> tuple[str, str]:
    """The fields in which two events differ, as `name=value`."""
    left: list[str] = []
    right: list[str] = []
    for (name, one), (_, other) in zip(old.fields, new.fields, strict=True):
        if one != other:
            left.append(f"{name}={_value(name, one)}")
            right.append(f"{name}={_value(name, other)}")
    return " ".join(left), " ".join(right)


def _value(name: str, value: object) -> str:
    """A coded value. Places count from the first page of the operation, and say so by their sign."""
    if name == "pfn" and isinstance(value, str):
        return f"frame {value}"
    if name in PLACES and isinstance(value, int):
        return f"{value:+d}"
    return str(value).lower() if isinstance(value, bool) else str(value)
