"""Operations that meet each other, two, three or four at once: which cells there are, and their searches.

The table of operations is in `operations`; docs/pairs.md and docs/triples.md show what came of the searches.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from time import process_time
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..arch.registry import ARCHES
from ..explore.findings.table import apart
from ..explore.program import ScenarioProgram
from ..explore.search import Limits
from ..explore.strategies import make_strategy
from ..explore.strategies.stateful import Stateful
from ..explore.token import encode
from ..nearest import hint
from ..patches.entry import Entry
from ..patches.registry import load_patch
from ..scenarios.scenario import loads
from .operations import (
    SETUPS,
    Cell,
    rows_for,
    scenario_text,
)
from .operations import names as every_name
from .study import Asked, Plan, Result, Study, StudyError, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..explore.search import SearchResult
    from .operations import Operation

#: By how many operations meet: what the study is called, and the versions that are asked unless others are named.
NAMES: Final = {2: "pairs", 3: "triples", 4: "quadruples"}
VERSIONS: Final = {
    2: ("baseline", "v1", "v2", "v3", "mainline-7.3", "inplace-v8", "inplace", "hugepage", "hugepage-mutex"),
    3: ("v3", "mainline-7.3", "inplace", "hugepage"),
    4: ("v3", "inplace"),
}
#: The same on a file of two pages.
TWO_PAGES: Final = ("v3", "mainline-7.3", "inplace")
_AND: Final = " + "


@attrs.frozen
class Matrix(Study):
    """No cell breaks a rule, but for findings that are known.

    Attributes:
        together: operations of a cell.
    """

    together: int
    name: str = attrs.field(
        init=False, default=attrs.Factory(lambda study: NAMES[study.together], takes_self=True)
    )

    def entries(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        # On a file of one page, of two, and on a huge page: what can meet in any version can meet in these.
        for pages, patch in ((1, "inplace"), (2, "inplace"), (1, "hugepage")):
            if patch in VERSIONS[self.together]:
                for names in _meetings(rows_for(pages, huge=patch == "hugepage"), self.together):
                    text = _AND.join(names)
                    if text not in found and any(
                        cell for arch in ARCHES for cell in _cells(names, patch, arch, pages)
                    ):
                        found[text] = Entry(name=text, title=text, versions=VERSIONS[self.together])
        return found

    def find(self, name: str) -> list[Entry]:
        """Operations in any order; or one or a few of them, with all that they meet."""
        wanted = [each.strip() for each in name.split("+")]
        known = self.entries()
        found = [
            entry
            for entry in known.values()
            if all(entry.name.split(_AND).count(one) >= wanted.count(one) for one in wanted)
        ]
        if not found:
            unknown = next((one for one in wanted if one not in every_name()), name)
            raise StudyError(f"no operations {name!r} in {self.name}; {hint(unknown, every_name())}")
        return found

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        names = tuple(entry.name.split(_AND))
        for patch in patches or (TWO_PAGES if plan.pages == 2 else VERSIONS[self.together]):
            # With more than two, VMs without private memory only if somebody asks for them.
            for arch in vm_types or (each for each in ARCHES if self.together == 2 or each != "default"):
                for cell in _cells(names, patch, arch, plan.pages):
                    yield Asked(entry=entry, patch=patch, arch=arch, part=cell.setup, about=cell)

    def ask(self, asked: Asked, plan: Plan) -> Result:
        row = explore_cell(
            asked.about,
            states=plan.states,
            schedules=plan.schedules,
            sampled=plan.sampled,
            strategy=plan.strategies[0],
        )
        unknown = [f"{each['rule']}: {each['summary']}" for each in row["violations"] if not each["known"]]
        known = sorted({each["known"] for each in row["violations"] if each["known"]})
        return Result(
            asked=asked,
            row=row,
            verdict=row["scope"],
            says="; ".join([*unknown, *(f"known: {each}" for each in known)]),
            as_expected=not unknown,
            complete=row["scope"].startswith("complete:"),
            known=tuple(known),
        )


def _meetings(rows: Sequence[Operation], together: int) -> Iterator[tuple[str, ...]]:
    """An operation also meets itself; of three or more not all are the same, and those that are `alone` left out."""
    names = [row.name for row in rows if together == 2 or not row.alone]
    for found in combinations_with_replacement(names, together):
        if together == 2 or len(set(found)) > 1:
            yield found


def cells(patch: str, together: int = 2, *, pages: int = 1) -> Iterator[Cell]:
    """All of a version, VM type by VM type.

    Args:
        together: how many operations a cell has.
        pages: of the file, 1 or 2; a version with huge pages has cells on a huge page.
    """
    rows = rows_for(pages, huge=load_patch(patch).huge_pages)
    for arch in ARCHES:
        for found in _meetings(rows, together):
            yield from _cells(found, patch, arch, pages)


def _cells(names: tuple[str, ...], patch: str, arch: str, pages: int) -> Iterator[Cell]:
    """Those of some operations; none if they cannot meet there."""
    version = load_patch(patch)
    huge, in_place = version.huge_pages, version.in_place
    if arch == "default" and huge:
        return
    by_name = {row.name: row for row in rows_for(pages, huge=huge)}
    rows = tuple(by_name[name] for name in names if name in by_name)
    mapped = arch == "default" or in_place
    if len(rows) < len(names) or any(
        (row.only and arch not in row.only) or (row.host and not mapped) for row in rows
    ):
        return
    # No vCPU can run before its VM's launch is finished.
    if any(row.launch for row in rows) and not {"touch", "touch neighbour"}.isdisjoint(names):
        return
    for setup in SETUPS:
        if setup == "untouched" or _can_be_touched(rows, arch, in_place, setup):
            yield Cell(names, patch, arch, setup, huge, 1 if huge else pages)


def _can_be_touched(rows: tuple[Operation, ...], arch: str, in_place: bool, setup: str) -> bool:
    """Whether the guest can have used the page: its slot is there, and its launch over."""
    names = {one.name for one in rows}
    if any(one.launch for one in rows) or ("make slot" in names and "delete slot" not in names):
        return False
    # With the VM's attributes, shared memory of a VM with private memory is no page of the file.
    return setup == "used" or in_place or arch == "default"


def explore_cell(
    cell: Cell,
    *,
    states: int = 0,
    schedules: int = 300,
    sampled: int = 0,
    steps: int | None = None,
    strategy: str = "preemption:2",
) -> dict[str, Any]:
    """Search one cell; what came of it, for a JSON line.

    A violation has the id of the finding that it is (`known`), or its token.

    Args:
        states: look at every state first, and give up at so many; 0: do not. Of two tasks that do the same it does not
            matter which is where (`exchanged`).
        schedules: if that was not all, at most so many are enumerated with `strategy`.
        sampled: if that was not all within its bound, so many more are drawn with POS.
        steps: of a run at most; None: 6,000, and 20,000 with huge pages.
    """
    began = process_time()
    program = ScenarioProgram(
        scenario=loads(scenario_text(cell), "cell.toml"), patch=cell.patch, arch=cell.arch, small=False
    )
    steps = steps or (20_000 if cell.huge else 6_000)
    results: list[SearchResult] = []
    scope = ""
    if states:
        limits = Limits(schedules=None, states=states, steps=steps)
        results.append(look(program, Stateful(3), limits, keep_going=True))
        done = results[0]
        scope = f"complete: {done.states:,} states" if done.complete else ""
    if not scope and schedules:
        chosen = make_strategy(strategy, 0)
        limits = Limits(schedules=schedules, steps=steps)
        results.append(look(program, chosen, limits, keep_going=True))
        done = results[-1]
        if done.complete:
            scope = f"complete: {done.bound}" if done.bound else "complete"
        else:
            cost = getattr(chosen, "cost", 0)
            scope = f"complete below {cost} preemptions" if cost else "not complete"
    drawn = 0
    if sampled and not scope.startswith("complete:") and scope != "complete":
        limits = Limits(schedules=sampled, steps=steps)
        results.append(look(program, make_strategy("pos", 0), limits, keep_going=True))
        drawn = results[-1].schedules
    violations: dict[tuple[str, ...], dict[str, str]] = {}
    for found in (one for result in results for one in result.found):
        failure = found.failure
        rule, kind, finding = found.sort
        row = {"rule": rule, "kind": kind, "summary": failure.summary, "known": finding}
        if violations.setdefault(apart(failure), row) is row and not finding:
            row["replay"] = encode(program, found.tape, max_steps=steps)
    return {
        **attrs.asdict(cell),
        "strategy": strategy,
        "scope": scope or "not complete",
        "states": results[0].states if states else 0,
        "exchanged": bool(states and results[0].exchanged),
        "schedules": sum(result.schedules for result in results),
        "sampled": drawn,
        "unfair": sum(result.dismissed for result in results),
        "cpu_seconds": round(process_time() - began, 2),
        "violations": list(violations.values()),
    }
