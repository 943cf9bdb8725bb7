"""Every pair and triple of operations against each other: which cells there are, and their searches.

The table of operations is in `operations`; docs/pairs.md and docs/triples.md show what came of the searches.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from time import process_time
from typing import TYPE_CHECKING, Any

import attrs

from ..arch.registry import ARCHES
from ..explore.judges.livelock import judge
from ..explore.program import ScenarioProgram
from ..explore.search import Limits, search
from ..explore.strategies import make_strategy
from ..explore.strategies.stateful import Stateful
from ..explore.token import encode
from ..scenarios.scenario import loads
from .operations import SETUPS, Cell, Operation, rows_for, scenario_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..explore.search import SearchResult

__all__ = ["cells", "explore_cell"]


def cells(
    patch: str, together: int = 2, *, in_place: bool = False, huge: bool = False, pages: int = 1
) -> Iterator[Cell]:
    """All of a version, VM type by VM type; an operation also meets itself.

    Args:
        together: how many operations a cell has. Of three or more, not all are the same, and rows that are `alone` are
            left out.
        in_place: the version's files can be shared and private.
        huge: on a file of one huge page.
        pages: else, how many pages the file has: 1 or 2.
    """
    for arch in ARCHES:
        if huge and arch == "default":
            continue
        mapped = arch == "default" or in_place
        here = [
            one
            for one in rows_for(pages, huge=huge)
            if (not one.only or arch in one.only)
            and (mapped or not one.host)
            and (together == 2 or not one.alone)
        ]
        for rows in combinations_with_replacement(here, together):
            names = tuple(one.name for one in rows)
            # No vCPU can run before its VM's launch is finished.
            if any(one.launch for one in rows) and not {"touch", "touch neighbour"}.isdisjoint(names):
                continue
            if together > 2 and len(set(names)) == 1:
                continue
            for setup in SETUPS:
                if setup == "untouched" or _can_be_touched(rows, arch, in_place, setup):
                    yield Cell(names, patch, arch, setup, huge, pages)


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
        results.append(search(program, Stateful(3), limits, keep_going=True, judge=judge))
        done = results[0]
        scope = f"complete: {done.states:,} states" if done.complete else ""
    if not scope and schedules:
        chosen = make_strategy(strategy, 0)
        limits = Limits(schedules=schedules, steps=steps)
        results.append(search(program, chosen, limits, keep_going=True, judge=judge))
        done = results[-1]
        if done.complete:
            scope = f"complete: {done.bound}" if done.bound else "complete"
        else:
            cost = getattr(chosen, "cost", 0)
            scope = f"complete below {cost} preemptions" if cost else "not complete"
    drawn = 0
    if sampled and not scope.startswith("complete:") and scope != "complete":
        limits = Limits(schedules=sampled, steps=steps)
        results.append(search(program, make_strategy("pos", 0), limits, keep_going=True, judge=judge))
        drawn = results[-1].schedules
    if any(result.stopped == "interrupted" for result in results):
        raise KeyboardInterrupt
    violations: dict[tuple[str, str, str], dict[str, str]] = {}
    for found in (one for result in results for one in result.found):
        failure = found.failure
        rule, kind, finding = found.sort
        row = {"rule": rule, "kind": kind, "summary": failure.summary, "known": finding}
        if violations.setdefault(found.sort, row) is row and not finding:
            # The tape of a livelock goes round in its loop and ends there.
            limit = found.steps - 1 if rule == "livelock" else steps
            row["replay"] = encode(program, found.tape, max_steps=limit)
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
