"""Every pair and triple of operations against each other: which cells there are, their searches, what is known of them.

The table of operations is in `operations`; docs/pairs.md and docs/triples.md show what came of the searches.
"""

from __future__ import annotations

import re
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..arch.registry import ARCHES
from ..scenarios.scenario import loads
from .operations import HUGE_OPERATIONS, OPERATIONS, SETUPS, Cell, Operation, scenario_text
from .oracles.livelock import judge
from .program import ScenarioProgram
from .search import Limits, search
from .strategies import make_strategy
from .token import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cells", "explore_cell", "known"]


def cells(patch: str, together: int = 2, *, in_place: bool = False, huge: bool = False) -> Iterator[Cell]:
    """All of a version, VM type by VM type; an operation also meets itself.

    Args:
        together: how many operations a cell has. Of three, not all are the same, and rows that are `alone` are left
            out.
        in_place: the version's files can be shared and private.
        huge: on a file of one huge page.
    """
    for arch in ARCHES:
        if huge and arch == "default":
            continue
        mapped = arch == "default" or in_place
        here = [
            one
            for one in (HUGE_OPERATIONS if huge else OPERATIONS)
            if (not one.only or arch in one.only)
            and (mapped or not one.host)
            and (together == 2 or not one.alone)
        ]
        for rows in combinations_with_replacement(here, together):
            names = tuple(one.name for one in rows)
            # No vCPU can run before its VM's launch is finished.
            if any(one.launch for one in rows) and "touch" in names:
                continue
            if together > 2 and len(set(names)) == 1:
                continue
            for setup in SETUPS:
                if setup == "untouched" or _can_be_touched(rows, arch, in_place, setup):
                    yield Cell(names, patch, arch, setup, huge)


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
    schedules: int = 300,
    sampled: int = 0,
    steps: int | None = None,
    strategy: str = "preemption:2",
) -> dict[str, Any]:
    """Search one cell; what came of it, for a JSON line. A violation that is not known comes with its token.

    Args:
        schedules: at most so many are enumerated with `strategy`.
        sampled: if that was not all within its bound, so many more are drawn with POS.
        steps: of a run at most; None: 6,000, and 20,000 with huge pages.
    """
    program = ScenarioProgram(
        scenario=loads(scenario_text(cell), "cell.toml"), patch=cell.patch, arch=cell.arch, small=False
    )
    steps = steps or (20_000 if cell.huge else 6_000)
    limits = Limits(schedules=schedules, steps=steps)
    chosen = make_strategy(strategy, 0)
    results = [search(program, chosen, limits, keep_going=True, judge=judge)]
    first = results[0]
    if first.complete:
        scope = f"complete: {first.bound}" if first.bound else "complete"
    else:
        cost = getattr(chosen, "cost", 0)
        scope = f"complete below {cost} preemptions" if cost else "not complete"
        if sampled:
            limits = Limits(schedules=sampled, steps=steps)
            results.append(search(program, make_strategy("pos", 0), limits, keep_going=True, judge=judge))
    if any(result.stopped == "interrupted" for result in results):
        raise KeyboardInterrupt
    violations: dict[tuple[str, str], dict[str, str]] = {}
    for found in (one for result in results for one in result.found):
        failure = found.failure
        row = {"rule": failure.rule, "kind": failure.kind, "summary": failure.summary}
        if failure.signature not in violations:
            violations[failure.signature] = row
            if not known(cell.names, row):
                row["replay"] = encode(program, found.tape, max_steps=steps)
    return {
        **attrs.asdict(cell),
        "strategy": strategy,
        "scope": scope,
        "schedules": sum(result.schedules for result in results),
        "sampled": sum(result.schedules for result in results[1:]),
        "unfair": sum(result.dismissed for result in results),
        "violations": list(violations.values()),
    }


# -- what is known -------------------------------------------------------------------------------------

#: Locks that may stand beside the folio lock and the invalidate lock in the deadlock that memory failure is known for.
_BESIDE: Final = frozenset(
    {
        "folio",
        "invalidate_lock",
        "slots_lock",
        "slots_arch_lock",
        "srcu",
        "mmap_lock",
        "mf_mutex",
        "lock",
        "psp",
    }
)
_WAITS_FOR_FOLIO: Final = re.compile(r"waits for gmem0\.folio\[\d+\] \(w\), which (\w+) holds \(w\)")


def known(names: tuple[str, ...] | list[str], violation: dict[str, str]) -> str:
    """The page of docs/findings that a violation among these operations is told in, or nothing.

    It is told by its rule, by the classes of its locks, and, if it is a deadlock or a livelock, by who waits for what
    in which mode. What is not told apart with certainty is not known.
    """
    rule, locks, summary = violation["rule"], frozenset(violation["kind"].split()), violation["summary"]
    if rule == "deadlock" and "freeze" in locks:
        return "hugepage-split-waits-for-memory-failure"
    if rule == "I35" and "punch page" in names:
        return "hugepage-hole-zeroes-private-pages"
    if rule == "I19" and "memory failure" in names and {"host write", "pin"} & set(names):
        return "host-fault-on-poisoned-page"
    if rule == "I28" and "delete slot" in names:
        return "private-page-mapped-shared-at-slot-deletion"
    if rule == "I15" and {"memory failure", "delete slot", "close"} <= set(names):
        return "unbind-during-memory-failure"
    spins = rule == "arch:LIVELOCK" or (rule == "livelock" and "waits for rmp.spin" in summary)
    if spins or (rule == "I31" and summary.startswith("RMP_LEAK") and {"punch", "close"} & set(names)):
        return "snp-rmp-fault-against-reclaim" if {"touch", "touch neighbour"} & set(names) else ""
    if rule == "deadlock" and {"folio", "invalidate_lock"} <= locks <= _BESIDE:
        return _memory_failure(names, summary)
    if rule == "livelock" and "waits for hugetlb.freeze" in summary:
        return "hugepage-split-waits-for-memory-failure"
    if rule == "livelock" and {"touch", "touch neighbour"} & set(names):
        # The fault goes round beside the deadlock of the two: one waits for the folio, one for the other lock.
        for failure in _tasks(names, "memory failure"):
            for punch in _tasks(names, "punch"):
                stuck = (f"{punch} waits for gmem0.folio[0]", f"{failure} waits for gmem0.invalidate_lock")
                if all(wait in summary for wait in stuck):
                    return "memory-failure-against-punch"
    return ""


def _tasks(names: tuple[str, ...] | list[str], name: str) -> list[str]:
    """Tasks of an operation that is not a vCPU's."""
    return [f"t{number}" for number, one in enumerate(names) if one == name]


def _memory_failure(names: tuple[str, ...] | list[str], summary: str) -> str:
    """Which of the deadlocks of the error hook: it has the folio and wants the invalidate lock, shared."""
    for failure in _tasks(names, "memory failure"):
        owners = _WAITS_FOR_FOLIO.findall(summary)
        if failure not in owners:
            continue
        wants = re.search(rf"{failure} waits for gmem0\.invalidate_lock \(r\), which (.*?) \(w\)", summary)
        if wants is None:
            continue
        if "queued in front" in wants[1]:
            return "memory-failure-fault-conversion"
        task = wants[1].split()[0]
        owner = names[int(task[1:])] if re.fullmatch(r"t\d+", task) else ""
        if owner in ("punch", "punch page"):
            return "memory-failure-against-punch"
        if owner == "populate":
            return "memory-failure-fault-conversion"
    return ""
