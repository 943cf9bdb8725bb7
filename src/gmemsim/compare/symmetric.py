"""Equal up to an exchange of identical threads: a permutation of the right's task names under which the logs are equal.

Tasks whose names differ in their last number only (`vcpu0`, `vcpu1`) are taken for identical. Each task gets a colour
that no exchange can change: a hash of its steps, of the dependent steps before and after them, and of the colours of
the tasks that took those; refined until it separates no more. Tasks of one colour are then told apart by trial, with
the colours refined anew each time, and what is found is compared step by step. The trial is complete: if there is a
permutation, it is found.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from .equivalence import compare_runs
from .footprint import Footprints
from .order import Cells
from .runs import Steps, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..audit.base import Event
    from .runs import Run

_NUMBER = re.compile(r"\d+$")

Colours = dict[str, int]


def exchange(left: Sequence[tuple[str, Event]], right: Sequence[tuple[str, Event]]) -> dict[str, str] | None:
    """The left's name for each task of the right, so that the logs are equal; None if there is no such exchange."""
    one, two = _Graph(left), _Graph(right)

    def trial(ours: Colours, theirs: Colours) -> dict[str, str] | None:
        ours, theirs = one.refine(ours), two.refine(theirs)
        if Counter(ours.values()) != Counter(theirs.values()):
            return None
        classes: defaultdict[int, list[str]] = defaultdict(list)
        for actor, colour in ours.items():
            classes[colour].append(actor)
        open_class = min((actors for actors in classes.values() if len(actors) > 1), key=len, default=None)
        if open_class is None:
            names = {actor: classes[colour][0] for actor, colour in theirs.items()}
            return names if _equal(left, right, names) else None
        chosen = open_class[0]
        for actor in (actor for actor, colour in theirs.items() if colour == ours[chosen]):
            found = trial({**ours, chosen: -1}, {**theirs, actor: -1})
            if found is not None:
                return found
        return None

    return trial(one.stems(), two.stems())


def _equal(
    left: Sequence[tuple[str, Event]], right: Sequence[tuple[str, Event]], names: dict[str, str]
) -> bool:
    steps = Steps()
    return compare_runs(steps, steps.run(left), steps.run(renamed(right, names)), most=1).equal


def renamed(events: Iterable[tuple[str, Event]], names: dict[str, str]) -> list[tuple[str, Event]]:
    """The log with other names of tasks."""
    return [(names.get(actor, actor), _renamed(event, names)) for actor, event in events]


#: Fields that name a task, or something by one: `vcpu0`, `vcpu0.mutex`, and what it writes if nothing else is said.
_NAMING = ("to", "at", "target", "obj", "lock", "vcpu", "value")
_WRITTEN = "data:"


def _renamed(event: Event, names: dict[str, str]) -> Event:
    changed: dict[str, str] = {}
    for field in _NAMING:
        text = getattr(event, field, None)
        if not isinstance(text, str):
            continue
        head = _WRITTEN if field == "value" and text.startswith(_WRITTEN) else ""
        new = head + _label(text[len(head) :], names)
        if new != text:
            changed[field] = new
    return msgspec.structs.replace(event, **changed) if changed else event


def _label(label: str, names: dict[str, str]) -> str:
    """An object's name: a task, as whether it runs or sleeps, or what is called after one, as `vcpu0.mutex`."""
    owner, rest = label, ""
    while owner not in names:
        owner, dot, last = owner.rpartition(".")
        rest = f"{dot}{last}{rest}"
        if not dot:
            return label
    return names[owner] + rest


class _Graph:
    """The steps of one log and which earlier ones each depends on."""

    def __init__(self, events: Sequence[tuple[str, Event]]) -> None:
        steps = Steps()
        self._run: Run = steps.run(events)
        self._places = steps.by_actor(self._run)
        self.actors = tuple(self._places)
        footprints = Footprints()
        for step in steps.known:
            footprints.learn(step.actor, step.event)
        cells = Cells(
            {number: footprints.of(step.actor, step.event) for number, step in enumerate(steps.known)}
        )
        self._before = self._dependences(cells)
        self._after: list[set[int]] = [set() for _ in self._before]
        for position, before in enumerate(self._before):
            for other in before:
                self._after[other].add(position)
        masked = [self._masked(step.actor, step.event) for step in steps.known]
        self._labels = [hash(masked[step]) for step in self._run.steps]

    def _masked(self, actor: str, event: Event) -> tuple[object, ...]:
        """The step without the names of tasks, frames and messages."""
        names = {name: _NUMBER.sub("#", name) for name in self.actors}
        ((actor, event),) = renamed([(actor, event)], names)
        return shape_of(actor, event)

    def _dependences(self, cells: Cells) -> list[set[int]]:
        """For each step the latest earlier steps that it depends on, those of its own task included."""
        run = self._run
        changed = [-1] * cells.count
        seen: list[list[int]] = [[] for _ in range(cells.count)]
        last: dict[str, int] = {}
        of_message: dict[int, int] = {}
        owner = {position: actor for actor, places in self._places.items() for position in places}
        found: list[set[int]] = []
        for position, step in enumerate(run.steps):
            before = {last.get(owner[position], -1)}
            for low, high, writes in cells.accesses[step]:
                for cell in range(low, high):
                    before.add(changed[cell])
                    if writes:
                        before.update(seen[cell])
                        seen[cell] = []
                        changed[cell] = position
                    else:
                        seen[cell].append(position)
            if position in run.messages:
                before.add(of_message.get(run.messages[position], -1))
                of_message[run.messages[position]] = position
            before -= {-1, position}
            last[owner[position]] = position
            found.append(before)
        return found

    def stems(self) -> Colours:
        """One colour for all tasks that are identical by name."""
        return {actor: hash(_NUMBER.sub("#", actor)) for actor in self.actors}

    def refine(self, colours: Colours) -> Colours:
        """Colours that separate as much as the steps do."""
        classes = len(set(colours.values()))
        while True:
            colours = self._round(colours)
            now = len(set(colours.values()))
            if now == classes:
                return colours
            classes = now

    def _round(self, colours: Colours) -> Colours:
        labels = list(self._labels)
        for actor, places in self._places.items():
            colour = colours[actor]
            for position in places:
                labels[position] = hash((colour, labels[position]))
        forth = list(labels)
        for position, before in enumerate(self._before):
            forth[position] = hash((labels[position], frozenset(forth[other] for other in before)))
        back = list(labels)
        for position in range(len(labels) - 1, -1, -1):
            back[position] = hash(
                (labels[position], frozenset(back[other] for other in self._after[position]))
            )
        return {
            actor: hash((colours[actor], tuple((forth[p], back[p]) for p in places)))
            for actor, places in self._places.items()
        }
