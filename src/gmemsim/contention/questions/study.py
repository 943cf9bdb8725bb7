"""What a study is: cases that are measured, tables of what was found, and claims that are tested in every corner.

A claim is a sentence with a test on the figures. The short answer of a study is its claims, each with whether it holds
with the default costs and in which corners of the uncertain costs it does not. So the answer cannot say more than the
figures, and a change of the model that makes a claim false shows in the page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from ...arch.cost_file import load_costs
from ...arch.platform_costs import changed
from ..intervals import interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ...arch.costs import CostTable

#: Machines whose tables are corners of every study.
MACHINES: Final = ("milan", "genoa", "sapphire-rapids")


@attrs.frozen(order=True)
class Case:
    """One thing that is measured: the values of its axes, by name."""

    axes: tuple[tuple[str, str | int], ...]

    def __getitem__(self, name: str) -> Any:
        return dict(self.axes)[name]

    def get(self, name: str, otherwise: Any) -> Any:
        """The value of an axis that not all cases have."""
        return dict(self.axes).get(name, otherwise)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.axes)


def cases(**axes: Iterable[str | int]) -> list[Case]:
    """Every combination, the last axis fastest."""
    found: list[tuple[tuple[str, str | int], ...]] = [()]
    for name, values in axes.items():
        listed = list(values)
        found = [(*head, (name, value)) for head in found for value in listed]
    return [Case(axes) for axes in found]


@attrs.frozen
class Corner:
    """One choice of the uncertain costs: a table, and changes of it."""

    name: str
    table: str = "full"
    changes: tuple[tuple[str, int], ...] = ()

    def costs(self, arch: str) -> CostTable:
        """Its table for a VM type."""
        return changed(load_costs(self.table).table(arch), dict(self.changes))


class Found:
    """Measured values of one corner: means over the seeds."""

    def __init__(self, values: dict[Case, list[dict[str, float]]]) -> None:
        self._values = values

    def __call__(self, measure: str, **axes: str | int) -> float:
        """The mean of a measure of the one case with these axes.

        Raises:
            KeyError: no case has them, or more than one.
        """
        found = list(self.cases(**axes))
        if len(found) != 1:
            raise KeyError(f"{len(found)} cases with {axes}")
        return self.of(found[0], measure)

    def cases(self, **axes: str | int) -> Iterator[Case]:
        """Those with these axes, in order."""
        return (case for case in self._values if all(case.get(k, None) == v for k, v in axes.items()))

    def values(self, axis: str, **axes: str | int) -> list[Any]:
        """The values of an axis in order, among cases with these axes."""
        return list(dict.fromkeys(case[axis] for case in self.cases(**axes)))

    def of(self, case: Case, measure: str) -> float:
        """The mean of a measure."""
        return interval([run[measure] for run in self._values[case]]).mean

    def widest(self, measure: str) -> float | None:
        """Half the width of the widest 95 % interval of a measure, as a share of its mean; None with one seed."""
        shares = []
        for runs in self._values.values():
            each = interval([run[measure] for run in runs if measure in run]) if measure in runs[0] else None
            if each is not None and each.half is not None and each.mean:
                shares.append(each.half / each.mean)
        return max(shares, default=None)


@attrs.frozen
class Claim:
    """A sentence, and the test of it."""

    text: str
    holds: Callable[[Found], bool]


@attrs.frozen
class Table:
    """Figures for people; `rows` are cells as text."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@attrs.frozen
class Chart:
    """One panel: lines over a numeric axis on logarithmic scales.

    Attributes:
        lines: by name: x and y.
    """

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


class Study(ABC):
    """One question.

    Attributes:
        key, slug: `Q17`, and the name of its page.
        question: the question, a sentence or two.
        method: what is run, for the page; Markdown.
        absent: what the study leaves out; Markdown.
        seeds: runs of each case with the default costs; a corner is run once.
        uncertain: entries of the cost table that the sweep changes, each to both ends of its range.
        main: the measure whose intervals the page tells.
    """

    key: ClassVar[str]
    slug: ClassVar[str]
    question: ClassVar[str]
    method: ClassVar[str]
    absent: ClassVar[str] = ""
    seeds: ClassVar[tuple[int, ...]] = (1, 2, 3)
    uncertain: ClassVar[tuple[str, ...]] = ("line", "wake", "shootdown_per_cpu")
    main: ClassVar[str] = ""

    @abstractmethod
    def cases(self) -> list[Case]:
        """What is measured with the default costs."""

    @abstractmethod
    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        """Run one case."""

    @abstractmethod
    def claims(self) -> Sequence[Claim]:
        """The short answer."""

    @abstractmethod
    def tables(self, found: Found) -> list[Table]:
        """What was found with the default costs."""

    def charts(self, found: Found) -> list[Chart]:
        """Pictures of it."""
        return []

    def swept(self) -> list[Case]:
        """The cases that the claims need: measured in every corner."""
        return self.cases()

    def arch(self, case: Case) -> str:
        """The VM type of a case, for its cost table."""
        found: str = case.get("arch", "sw-protected")
        return found

    def corners(self) -> list[Corner]:
        """Each uncertain cost at both ends of its range, and the machines."""
        made = []
        for name, value, why in load_costs("full").rows("default"):
            if name in self.uncertain:
                ends = [end for end in (why.low, why.high) if end != value]
                made += [Corner(f"{name} {end:,} ns", "full", ((name, end),)) for end in ends]
        return [*made, *(Corner(name, name) for name in MACHINES)]
