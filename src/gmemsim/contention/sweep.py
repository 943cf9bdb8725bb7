"""Many points: over vCPUs, patches, storms and backgrounds, and over the uncertain costs."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from ..arch.cost_file import GENERIC, Costs
from ..arch.costs import SWEEPS, CostTable
from .campaign import Cell
from .point import CannotError, Point, PointError, check, common_release
from .storm import run
from .storms import BACKGROUNDS, FAULT_STORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .result import Result
    from .trace import TraceBook

VCPUS: Final = (1, 2, 4, 8, 16, 32, 64)
PATCHES: Final = ("baseline", "v3", "tracked", "tracked-shared")

#: What storms and backgrounds depend on, with the alternatives. The rest of `SWEEPS` is TDX and launch.
UNCERTAIN: Final[Mapping[str, tuple[Mapping[str, int], ...]]] = {
    **{
        name: SWEEPS[name]
        for name in (
            "line",
            "rmpupdate",
            "wake",
            "shootdown",
            "direct_map_split",
            "clflush",
        )
    },
    # The hook's own cost, which SWEEPS leaves alone: two cached reads, or two that miss.
    "rmp_lookup": ({"rmp_lookup": 4}, {"rmp_lookup": 20}, {"rmp_lookup": 200}),
}


_T = TypeVar("_T")


def _once(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))


def points(
    *,
    patches: Iterable[str] = PATCHES,
    arches: Iterable[str] = ("snp",),
    storms: Iterable[str] = FAULT_STORMS,
    backgrounds: Iterable[str] = BACKGROUNDS,
    vcpus: Iterable[int] = VCPUS,
    folios: Iterable[str] = ("4K",),
    policies: Iterable[str] = ("rwsem",),
    seeds: Iterable[int] = (0,),
    tables: Iterable[str] = ("generic",),
    sockets: Iterable[int] = (1,),
    common: Point | None = None,
    refused: list[str] | None = None,
) -> list[Point]:
    """All combinations, checked; the rest of each point is as in `common`.

    Without a release in `common`, the kernel around all versions is the newest that one of them belongs to, so that
    only the versions differ. What is named twice is run once: equal runs are no sample.

    Args:
        refused: takes the reason for each combination that a version or VM type cannot do, once, and the others are
            returned; None: the first of them is an error.

    Raises:
        PointError, PatchError: one of them makes no sense, or none is left.
    """
    common = common or Point()
    patches = list(patches)
    if not common.release:
        common = attrs.evolve(common, release=common_release(patches))
    made = []
    for table, socket, arch, storm, background, folio, count, patch, policy, seed in product(
        _once(tables),
        _once(sockets),
        _once(arches),
        _once(storms),
        _once(backgrounds),
        _once(folios),
        _once(vcpus),
        _once(patches),
        _once(policies),
        _once(seeds),
    ):
        point = attrs.evolve(
            common,
            patch=patch,
            arch=arch,
            storm=storm,
            background=background,
            vcpus=count,
            folio=folio,
            policy=policy,
            seed=seed,
            costs=table,
            sockets=socket,
        )
        try:
            check(point)
        except CannotError as error:
            if refused is None:
                raise
            if str(error) not in refused:
                refused.append(str(error))
        else:
            made.append(point)
    if refused and not made:
        raise PointError(refused[0])
    return made


def run_all(
    wanted: Sequence[Point],
    costs: CostTable | None = None,
    progress: Callable[[int, Point], None] | None = None,
    done: Callable[[Result], object] | None = None,
    trace: TraceBook | None = None,
) -> list[Result]:
    """Run them in order; `progress(number, point)` is called before each, `done(result)` after it.

    `trace` takes the events of all of them, so it makes sense with one.
    """
    results = []
    for number, point in enumerate(wanted):
        if progress is not None:
            progress(number, point)
        results.append(run(point, costs, trace))
        if done is not None:
            done(results[-1])
    return results


@attrs.frozen
class Corner:
    """One choice for every uncertain cost; `name` is what to call it."""

    name: str
    changes: dict[str, int]
    other_lines: bool = False

    def cells(self, wanted: Iterable[Point]) -> list[Cell]:
        """These points in this corner."""
        changes = tuple(sorted(self.changes.items()))
        return [Cell(attrs.evolve(point, other_lines=self.other_lines), changes) for point in wanted]


def corners(costs: Costs = GENERIC) -> list[Corner]:
    """The default, every alternative by itself, and all low and all high.

    With the generic table each with and without the other lines; a full one charges them, and its own entries are
    uncertain too, between their lowest and highest values.
    """
    uncertain = dict(UNCERTAIN)
    ends: dict[str, tuple[int, int]] = {}
    if costs.full:
        known = CostTable.names()
        for name, value, why in costs.rows("default"):
            if name not in known or name in costs.evidence:
                uncertain[name] = tuple({name: end} for end in (why.low, why.high) if end != value)
                ends[name] = (why.low, why.high)
    single = [
        Corner(" ".join(f"{key}={value}" for key, value in change.items()), dict(change))
        for changes in uncertain.values()
        for change in changes
    ]
    low: dict[str, int] = {}
    high: dict[str, int] = {}
    for name, changes in uncertain.items():
        if name in ends:
            # The value may be an end itself.
            low[name], high[name] = ends[name]
        elif changes:
            low.update(changes[0])
            high.update(changes[-1])
    all_low, all_high = Corner("all first", low), Corner("all last", high)
    once = [Corner("default", {}), *single, all_low, all_high]
    if costs.full:
        return once
    return [*once, *(attrs.evolve(corner, other_lines=True) for corner in once)]
