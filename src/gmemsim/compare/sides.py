"""Two sets of runs compared by their behaviours: in all runs of a side, in some, in none, and what of it is noise."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ..actors.errno import ERRNOS
from .behaviour import Behaviour
from .rows import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .behaviour import Behaviours

_PREPARATION: Final = frozenset({"clear", "prepare", "set_uptodate"})
#: What moved is named after these, first to last.
_TELLING: Final = (
    "prepare",
    "set_uptodate",
    "clear",
    "populate_callback",
    "copy",
    "map",
    "zap both",
    "truncate",
)
#: Rates that differ less than this are the same.
_RATE: Final = 0.1
_ERRNOS: Final = frozenset(ERRNOS.values())
#: Steps that a row names.
_SHOWN: Final = 4


class _Side:
    """The runs of one side."""

    def __init__(self, runs: Sequence[Behaviours]) -> None:
        self.runs = runs

    def shows(self, behaviour: Behaviour) -> list[int]:
        """How often each run shows it."""
        return [run.counts.get(behaviour, 0) for run in self.runs]

    def level(self, behaviour: Behaviour) -> str:
        """`all`, `some` or `none` of the runs."""
        return _level(self.shows(behaviour))

    def noisy(self, behaviour: Behaviour) -> bool:
        """Whether its two halves differ as sides may."""
        counts = self.shows(behaviour)
        return len(counts) > 1 and _level(counts[0::2]) != _level(counts[1::2])

    def rates(self, behaviour: Behaviour) -> list[float]:
        """How often an operation shows it, run by run."""
        return [
            run.counts.get(behaviour, 0) / max(run.operations.get(behaviour.operation, 0), 1)
            for run in self.runs
        ]

    def knows(self, operation: str) -> bool:
        """Whether any run has such an operation."""
        return any(run.operations.get(operation) for run in self.runs)

    def words(self, behaviour: Behaviour) -> str:
        """How many of the runs show it, and how often."""
        counts = self.shows(behaviour)
        total = sum(counts)
        if len(counts) == 1:
            return f"{total:,} times" if total else "never"
        runs = sum(map(bool, counts))
        if not runs:
            return "in no run"
        return f"in {'all' if runs == len(counts) else f'{runs} of'} {len(counts)} runs, {total:,} times"

    def first(self, behaviour: Behaviour) -> int | None:
        """The first run that shows it."""
        return next((number for number, count in enumerate(self.shows(behaviour)) if count), None)


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _fails(behaviour: Behaviour) -> bool:
    """A function comes to an errno: if no run of the other side does, it is told however few of this one's do."""
    return behaviour.kind in ("outcome", "result") and behaviour.with_.partition(",")[0] in _ERRNOS


def _level(counts: Sequence[int]) -> str:
    shown = sum(map(bool, counts))
    return "none" if not shown else "all" if shown == len(counts) else "some"


def compare_sides(
    left: Sequence[Behaviours], right: Sequence[Behaviours], names: Sequence[str]
) -> tuple[list[Row], int]:
    """Rows, unsorted and without methods, and how many more differ as much between two halves of one side.

    Args:
        names: of the runs of a side, such as `seed 3`.
    """
    return _Comparison(_Side(left), _Side(right), names).rows()


class _Comparison:
    def __init__(self, left: _Side, right: _Side, names: Sequence[str]) -> None:
        self.left = left
        self.right = right
        self.names = names
        self.noise = 0
        every = {behaviour for side in (left, right) for run in side.runs for behaviour in run.counts}
        self.every = sorted(every)

    def rows(self) -> tuple[list[Row], int]:
        found: list[Row] = []
        under: defaultdict[tuple[str, str, bool, bool], list[Behaviour]] = defaultdict(list)
        flips: defaultdict[tuple[str, str, bool, bool], list[tuple[Behaviour, Behaviour]]] = defaultdict(list)
        for behaviour in self.every:
            if not (self.left.knows(behaviour.operation) and self.right.knows(behaviour.operation)):
                continue
            if behaviour.kind == "order":
                self._flip(behaviour, flips)
                continue
            change = self._change(behaviour)
            if change is None:
                continue
            gained, certain = change
            if behaviour.kind == "under":
                step = Behaviour("step", behaviour.operation, behaviour.what)
                # A step that is new cannot be newly under a lock.
                if "none" not in (self.left.level(step), self.right.level(step)):
                    under[behaviour.operation, behaviour.with_, gained, certain].append(behaviour)
                continue
            found.append(self._row(behaviour, gained, certain))
        found += self._held(under)
        found += self._moved(flips)
        found += self._operations()
        return found, self.noise

    def _operations(self) -> list[Row]:
        """Operations that one side alone has."""
        found: list[Row] = []
        names = {name for side in (self.left, self.right) for run in side.runs for name in run.operations}
        for name in sorted(names):
            counts = [[run.operations.get(name, 0) for run in side.runs] for side in (self.left, self.right)]
            levels = [_level(side) for side in counts]
            if levels[0] == levels[1]:
                continue
            if "none" not in levels or any(
                len(side) > 1 and _level(side[0::2]) != _level(side[1::2]) for side in counts
            ):
                self.noise += 1
                continue
            new = levels[0] == "none"
            shown = counts[1] if new else counts[0]
            one, two = (f"{sum(side):,} times" if any(side) else "never" for side in counts)
            number = next(number for number, count in enumerate(shown) if count)
            text = f"{name} is done {'now' if new else 'no more'}"
            certain, often = "all" in levels, sum(shown)
            found.append(
                Row(
                    "step",
                    name,
                    text,
                    one,
                    two,
                    name,
                    shown_by=self.names[number],
                    certain=certain,
                    count=often,
                )
            )
        return found

    def _change(self, behaviour: Behaviour) -> tuple[bool, bool] | None:
        """Whether the right shows it more, and whether that is certain; None if the sides do not differ."""
        one, two = self.left.level(behaviour), self.right.level(behaviour)
        if one != two:
            certain = {one, two} == {"all", "none"}
            alone = "none" in (one, two)
            if not certain and not (
                alone
                and (_fails(behaviour) or not (self.left.noisy(behaviour) or self.right.noisy(behaviour)))
            ):
                self.noise += 1
                return None
            return one == "none" or two == "all", certain
        if behaviour.kind in ("outcome", "result", "under", "retry", "wait"):
            return None
        lefts, rights = self.left.rates(behaviour), self.right.rates(behaviour)
        apart = min(lefts) > max(rights) * (1 + _RATE) or min(rights) > max(lefts) * (1 + _RATE)
        if not apart:
            return None
        return sum(rights) / len(rights) > sum(lefts) / len(lefts), True

    def _row(self, behaviour: Behaviour, gained: bool, certain: bool) -> Row:
        levels = self.left.level(behaviour), self.right.level(behaviour)
        kind = behaviour.kind
        often = "none" not in levels and kind in ("lock", "step")
        text = {
            "outcome": f"the call comes to {behaviour.with_}",
            "result": f"{behaviour.what} comes to {behaviour.with_}",
            "lock": f"{behaviour.what} is taken",
            "step": behaviour.what,
            "wait": f"waits for {behaviour.what}",
            "retry": f"is retried: {behaviour.what}",
        }[kind]
        if often:
            kind = "count"
            text += " more often" if gained else " less often"
        elif kind == "step":
            text += " added" if gained else " gone"
        else:
            text += (
                ("" if gained else " no more")
                if "none" in levels
                else " in more runs"
                if gained
                else " in fewer runs"
            )
        return self._make(kind, behaviour, text, certain)

    def _make(
        self,
        kind: str,
        behaviour: Behaviour,
        text: str,
        certain: bool,
        other: Behaviour | None = None,
        step: str = "",
    ) -> Row:
        shown = self.right.first(other or behaviour)
        if shown is None:
            shown = self.left.first(behaviour)
        lefts, rights = self.left.words(behaviour), self.right.words(behaviour)
        if kind == "count":
            lefts, rights = (
                f"{sum(rates) / len(rates):.3g} an operation"
                for rates in (self.left.rates(behaviour), self.right.rates(behaviour))
            )
        if other is not None:
            rights = self.right.words(other)
        count = sum(self.left.shows(behaviour)) + sum(self.right.shows(other or behaviour))
        return Row(
            kind, behaviour.operation, text, lefts, rights, step or behaviour.what,
            shown_by=self.names[shown or 0], certain=certain, count=count,
        )  # fmt: skip

    def _held(self, under: dict[tuple[str, str, bool, bool], list[Behaviour]]) -> list[Row]:
        """A lock that is held over more or fewer steps is one row."""
        found: list[Row] = []
        for (_, lock, gained, certain), steps in under.items():
            names = ", ".join(step.what for step in steps[:4]) + (
                f" and {len(steps) - 4} more" if len(steps) > 4 else ""
            )
            text = f"{lock} is held over {names}" if gained else f"{lock} is no longer held over {names}"
            found.append(self._make("lock", steps[0], text, certain))
        return found

    def _flip(
        self, behaviour: Behaviour,
        flips: defaultdict[tuple[str, str, bool, bool], list[tuple[Behaviour, Behaviour]]],
    ) -> None:  # fmt: skip
        """Note a pair of steps that the right takes the other way round."""
        back = Behaviour("order", behaviour.operation, behaviour.with_, behaviour.what)
        before = self.left.level(behaviour), self.right.level(behaviour)
        after = self.left.level(back), self.right.level(back)
        # The left has this order, the right the other one, more than before.
        if before[0] == "none" or after[1] == "none" or (before[0] == before[1] and after[0] == after[1]):
            return
        if "none" not in (before[1], after[0]):
            self.noise += 1
            return
        certain = before[1] == "none" and after[0] == "none"
        if not certain and (self.left.noisy(back) or self.right.noisy(back) or self.right.noisy(behaviour)):
            self.noise += 1
            return
        pair = (behaviour.what, behaviour.with_)
        moved = min(
            pair, key=lambda step: (_TELLING.index(step) if step in _TELLING else len(_TELLING), step)
        )
        later = moved == behaviour.what
        flips[behaviour.operation, moved, later, certain].append((behaviour, back))

    def _moved(
        self, flips: dict[tuple[str, str, bool, bool], list[tuple[Behaviour, Behaviour]]]
    ) -> list[Row]:
        """A step that jumped over several others is one row."""
        found: list[Row] = []
        for (_, moved, later, certain), pairs in flips.items():
            others = [pair.with_ if later else pair.what for pair, _ in pairs]
            others.sort(key=lambda step: step not in _PREPARATION)
            names = _few(others)
            text = (
                f"{moved} after {names} instead of before"
                if later
                else f"{moved} before {names} instead of after"
            )
            ours = moved in _PREPARATION and any(other in _PREPARATION for other in others)
            behaviour, back = next(
                (pair for pair in pairs if (pair[0].with_ if later else pair[0].what) == others[0]), pairs[0]
            )
            found.append(
                self._make("preparation" if ours else "order", behaviour, text, certain, back, moved)
            )
        return found
