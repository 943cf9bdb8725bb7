"""Three operations at once on one page, for the versions that convert in place: scenarios, searches, and what is known.

The operations are rows of the table in `pairs`; a cell adds a third task and a choice of the state it begins in.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..scenarios.scenario import loads
from .oracles.livelock import judge
from .pairs import BESIDE, OPERATIONS
from .program import ScenarioProgram
from .search import Limits, search
from .strategies import make_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Triple", "explore_triple", "known", "scenario_text", "triples"]

_NAMES: Final = (
    "touch",
    "host write",
    "allocate",
    "punch",
    "to private",
    "to shared",
    "memory failure",
    "delete slot",
    "close",
)
_ROWS: Final = {one.name: one for one in OPERATIONS}
#: State of the page: nobody looked at it; private and used by the guest; shared and used by the host.
_SETUPS: Final = {
    "untouched": (["MMAP"], ""),
    "private": (["MMAP"], '{ op = "touch", write = "guest" }'),
    "shared": (["MMAP", "INIT_SHARED"], '{ op = "host_write", map = "m", value = "before" }'),
}


@attrs.frozen
class Triple:
    """One cell."""

    names: tuple[str, str, str]
    setup: str
    patch: str
    arch: str


def triples(patch: str, arch: str) -> Iterator[Triple]:
    """All cells of a version and VM type. A name three times is left out: two of them say it already."""
    for names in combinations_with_replacement(_NAMES, 3):
        if len(set(names)) == 1:
            continue
        for setup in _SETUPS:
            yield Triple((names[0], names[1], names[2]), setup, patch, arch)


def scenario_text(cell: Triple) -> str:
    """The scenario of a cell, as TOML."""
    flags, ops = _SETUPS[cell.setup]
    lines = [
        f'[scenario]\nname = "triple"\nsummary = "{", ".join(cell.names)}"\nquestion = "What comes of the three?"',
        '[[vm]]\nid = "vm0"\naccept = "tolerant"\non_memory_fault = "stop"',
        "choices = { sept_ve_disable = false }",
        f'[[file]]\nid = "gmem0"\npages = 1\nflags = {flags!r}',
        '[[slot]]\nid = 0\nfile = "gmem0"\ngfn = 0x10000',
        '[[map]]\nid = "m"\nfile = "gmem0"',
    ]
    # A memory failure needs a page.
    if not ops and "memory failure" in cell.names:
        ops = '{ op = "allocate" }'
    if ops:
        lines.append(f"[setup]\nops = [{ops}]")
    if cell.setup == "private" and "touch" not in cell.names:
        # The setup's touch needs a vCPU; here it has nothing to do.
        lines.append('[[task]]\nrole = "vcpu"\nops = [{ op = "sleep", time = 0 }]')
    for number, name in enumerate(cell.names):
        row = _ROWS[name]
        role = 'role = "vcpu"' if row.vcpu else f'name = "t{number}"'
        lines.append(f"[[task]]\n{role}\nops = [{row.toml}]")
    return "\n\n".join(lines)


def known(cell: Triple, rule: str, kind: str, summary: str = "") -> str | None:
    """The finding's page that a violation belongs to, by its rule, the classes of its locks and the operations.

    A livelock is told by what its other tasks wait for; I19 has no lock to compare.
    What is not told apart with certainty is not known.
    """
    locks = set(kind.split())
    names = set(cell.names)
    if rule == "deadlock" and "memory failure" in names and {"folio", "invalidate_lock"} <= locks <= BESIDE:
        if "punch" in names:
            return "memory-failure-against-punch"
        if names & {"touch", "allocate"}:
            return "memory-failure-fault-conversion"
    if rule == "livelock" and {"punch", "memory failure"} <= names and cell.names.count("touch") == 1:
        # The fault goes round beside the deadlock of the two: one waits for the folio, one for the other lock.
        punch, failure = (f"t{cell.names.index(name)}" for name in ("punch", "memory failure"))
        stuck = (f"{punch} waits for gmem0.folio[0]", f"{failure} waits for gmem0.invalidate_lock")
        if all(wait in summary for wait in stuck):
            return "memory-failure-against-punch"
    if rule == "I28" and "delete slot" in names:
        return "private-page-mapped-shared-at-slot-deletion"
    if rule == "I19" and {"memory failure", "host write"} <= names:
        return "host-fault-on-poisoned-page"
    return None


def explore_triple(
    cell: Triple,
    strategies: tuple[str, ...] = ("pos", "preemption:2"),
    *,
    schedules: int = 60,
    steps: int = 6_000,
) -> dict[str, Any]:
    """Search one cell with each strategy, `schedules` of each at most; a JSON line."""
    program = ScenarioProgram(
        scenario=loads(scenario_text(cell), "triple.toml"), patch=cell.patch, arch=cell.arch, small=False
    )
    runs: list[dict[str, Any]] = []
    violations: dict[tuple[str, str], dict[str, Any]] = {}
    for name in strategies:
        limits = Limits(schedules=schedules, steps=steps)
        result = search(program, make_strategy(name, 0), limits, keep_going=True, judge=judge)
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        runs.append(
            {
                "strategy": name,
                "schedules": result.schedules,
                "complete": result.complete,
                "unfair": result.dismissed,
            }
        )
        for found in result.found:
            failure = found.failure
            violations.setdefault(
                failure.signature,
                {
                    "rule": failure.rule,
                    "kind": failure.kind,
                    "summary": failure.summary,
                    "known": known(cell, failure.rule, failure.kind, failure.summary),
                    "strategy": name,
                },
            )
    return {**attrs.asdict(cell), "runs": runs, "violations": list(violations.values())}
