"""Pairs of steps by different tasks whose order can matter, and which of them another schedule turns round."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ..audit.vocabulary import name_of
from ..engine.op import dependent
from .model import Access, Conflict
from .words import is_message, lock_of, op_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .interest import Interest
    from .model import Step

_SYNCHRONIZE: Final = frozenset({"acquire", "release", "try", "wait", "wake"})
_WORDS: Final = (".attributes", ".memslots", ".seq")
_COUNTS: Final = (".f_count", ".ref", ".mapcount")
#: Pairs looked at per object, from the last one back.
_LOOK: Final = 400
#: Name of a step that means the same in another schedule: task, call, operation, and the how-manieth of these.
Key = tuple[str, int, str, str, int, int, int]


def keys_of(steps: Sequence[Step]) -> dict[Key, int]:
    """Position of every step by its name."""
    count: Counter[tuple[str, int, str, str, int, int]] = Counter()
    found: dict[Key, int] = {}
    for position, step in enumerate(steps):
        op = step.op
        key = (step.task, step.call, op.kind, op.obj, op.lo, op.hi)
        count[key] += 1
        found[*key, count[key]] = position
    return found


def conflicts(
    steps: Sequence[Step], interest: Interest, passing: Sequence[Step] = (), last: int = 1 << 62
) -> list[Conflict]:
    """One pair an object, what matters most first.

    Of an object, it is the last pair that `passing` turns round, or else simply the last. Pairs that turn come before
    those that do not, then data before locks, and pages of interest before others.

    Args:
        steps: of the failing run.
        passing: steps of a run that went well.
        last: number of the step at which the failure showed; what comes later is left out.
    """
    by_object: dict[str, list[int]] = {}
    for position, step in enumerate(steps):
        if step.number <= last and step.op.kind not in {"start", "sleep"}:
            by_object.setdefault(step.op.obj, []).append(position)
    names = {position: key for key, position in keys_of(steps).items()}
    places = keys_of(passing)
    found: list[tuple[tuple[int, int, int], Conflict]] = []
    for positions in by_object.values():
        best: tuple[tuple[int, int, int], Conflict] | None = None
        for looked, (first, second) in enumerate(_pairs(steps, positions)):
            if looked >= _LOOK:
                break
            flips = _flips(places, names[first], names[second])
            one, two = steps[first], steps[second]
            rank = (_rank(one, two, interest, flips), two.number, one.number)
            if best is None or (rank[0] > best[0][0]):
                best = rank, Conflict(lock_of(two.op), access_of(one), access_of(two), flips)
        if best is not None:
            found.append(best)
    return [conflict for _, conflict in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _pairs(steps: Sequence[Step], positions: list[int]) -> Iterator[tuple[int, int]]:
    """From the last pair back; of several earlier steps of one task, the last."""
    for at in range(len(positions) - 1, 0, -1):
        two = steps[positions[at]]
        seen: set[str] = {two.task}
        for before in range(at - 1, -1, -1):
            one = steps[positions[before]]
            if one.task not in seen and dependent(one.op, two.op):
                seen.add(one.task)
                yield positions[before], positions[at]


def _flips(places: dict[Key, int], first: Key, second: Key) -> bool:
    return first in places and second in places and places[second] < places[first]


def _rank(one: Step, two: Step, interest: Interest, flips: bool) -> int:
    ours = interest.op(one.op) and interest.op(two.op)
    # What another schedule turns round, and passes, decides: before whatever else looks as if it might.
    decides = 64 if flips else 0
    if one.op.kind in _SYNCHRONIZE or two.op.kind in _SYNCHRONIZE:
        return decides + ours
    # Words of the VM (the invalidation sequence, the memslots) belong to each of its pages. References come and go.
    words = two.op.obj.endswith(_WORDS)
    # What the rule itself is about comes before the page at which it showed: that is where it led to.
    if ours and interest.about(two.op):
        value = 5
    elif two.op.obj.endswith(_COUNTS):
        value = 2 if ours else 1
    else:
        value = 4 if ours else 3 if words else 2
    return decides + 4 * value


def access_of(step: Step) -> Access:
    """The step as an access."""
    # A lock event stands for whichever function took the lock; the function and the primitive say it better.
    events = (happening.event for happening in step.happenings)
    told = [event for event in events if not is_message(event) and event.family != "locks"]
    mirrors = tuple(
        dict.fromkeys(f"{name_of(type(event))}: {event.mirrors}" for event in told if event.mirrors)
    )
    return Access(step.number, step.task, step.call, op_text(step.op, step.primitive), step.function, mirrors)
