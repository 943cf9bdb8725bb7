"""Rows for what a step-by-step comparison found: steps without an equal, other frames and messages, other order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ..audit.events import Access
from ..audit.vocabulary import name_of
from .behaviour import step_name
from .divergence import words
from .rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .equivalence import Comparison
    from .runs import Run, Step, Steps

_ACCESS = name_of(Access)


def step_rows(steps: Steps, left: Run, right: Run, found: Comparison) -> list[Row]:
    """One row for each kind of step that differs, with the number of the first such step on the left."""
    return [
        *_named(steps, left, right, found),
        *_unequal(steps, left, right, found),
        *_inverted(steps, left, found),
    ]


def _named(steps: Steps, left: Run, right: Run, found: Comparison) -> Iterator[Row]:
    for kind, pairs, says in (
        ("frame", found.frames, "names another frame than its counterpart"),
        ("message", found.messages, "is of another message than its counterpart"),
    ):
        groups: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for position, place in pairs:
            step = steps.known[left.steps[position]]
            groups[step.actor, name_of(step.event.__class__)].append((position, place))
        for (actor, name), where in groups.items():
            position, place = where[0]
            sides = (_words(steps, left, position), _words(steps, right, place))
            yield Row(
                kind,
                name,
                f"{name} of {actor} {says}",
                *sides,
                name,
                shown_by=f"step {position}",
                count=len(where),
            )


def _unequal(steps: Steps, left: Run, right: Run, found: Comparison) -> Iterator[Row]:
    """Steps that one side has; two of one kind and task that stand for each other are one with another value."""
    gone: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    new: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for side, run, positions in ((gone, left, found.gone), (new, right, found.new)):
        for position in positions:
            step = steps.known[run.steps[position]]
            side[step.actor, name_of(step.event.__class__)].append(position)
    for key in sorted(gone.keys() | new.keys()):
        actor, name = key
        ours, theirs = gone.get(key, []), new.get(key, [])
        if name == _ACCESS:
            # They follow from the steps that differ, and there are many.
            first = min((*ours, *theirs))
            often = [f"{len(places):,} that the other has not" for places in (ours, theirs)]
            yield Row(
                "access", name, f"{actor} reads and changes other things", often[0], often[1], name,
                shown_by=f"step {first}", count=len(ours) + len(theirs),
            )  # fmt: skip
            continue
        both = min(len(ours), len(theirs))
        if both:
            values: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
            for position, place in zip(ours, theirs, strict=False):
                fields = _fields(steps.known[left.steps[position]], steps.known[right.steps[place]])
                values[fields].append((position, place))
            for fields, where in values.items():
                position, place = where[0]
                sides = (_words(steps, left, position), _words(steps, right, place))
                yield Row(
                    "value", name, f"{name} of {actor} has another {fields}", *sides, name,
                    shown_by=f"step {position}", count=len(where),
                )  # fmt: skip
        for kind, run, rest in (("gone", left, ours[both:]), ("new", right, theirs[both:])):
            if rest:
                text = f"{name} of {actor} is on the {'left' if kind == 'gone' else 'right'} only"
                words = _words(steps, run, rest[0])
                sides = (words, "") if kind == "gone" else ("", words)
                yield Row(kind, name, text, *sides, name, shown_by=f"step {rest[0]}", count=len(rest))


def _fields(one: Step, other: Step) -> str:
    names = [
        name
        for name in one.event.__struct_fields__
        if name != "id" and getattr(one.event, name) != getattr(other.event, name, None)
    ]
    return ", ".join(names) or "place"


def _inverted(steps: Steps, left: Run, found: Comparison) -> Iterator[Row]:
    groups: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for inversion in found.inversions:
        one, two = (steps.known[_telling(steps, left, at)].event for at in inversion[:2])
        key = step_name(name_of(one.__class__), one), step_name(name_of(two.__class__), two)
        groups[key].append(inversion)
    for (first, second), where in groups.items():
        inversion = where[0]
        yield Row(
            "interleaving", second, f"{second} before {first} of another task instead of after ({inversion.object})",
            _words(steps, left, inversion.first), _words(steps, left, inversion.second), second.partition(" ")[0],
            shown_by=f"steps {inversion.first}, {inversion.second}", count=len(where),
        )  # fmt: skip


def _telling(steps: Steps, run: Run, position: int) -> int:
    """The number of a step; of an access, that of the event before it that its task wrote."""
    step = steps.known[run.steps[position]]
    if isinstance(step.event, Access):
        for number in reversed(run.steps[:position]):
            other = steps.known[number]
            if other.actor == step.actor and not (other.message or isinstance(other.event, Access)):
                return number
    return run.steps[position]


def _words(steps: Steps, run: Run, position: int) -> str:
    step = steps.known[run.steps[position]]
    return f"{step.actor} {words(step.event)}"
