"""Every pair of operations against each other: small scenarios made from the table of operations, and their searches.

Each cell is one page of one file in a state in which both operations mean something, and two tasks with one operation
each. What an operation is expected to return is left open; the oracles, the engine and the sequential order judge.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..arch.registry import ARCHES
from ..scenarios.scenario import loads
from .oracles.livelock import judge
from .program import ScenarioProgram
from .search import Limits, search
from .strategies import make_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPERATIONS", "Operation", "Pair", "explore_pair", "pairs"]


@attrs.frozen
class Operation:
    """One row of the matrix.

    Attributes:
        toml: the operation, or several, as in a scenario.
        vcpu: it is a vCPU's.
        host: it needs a file that the host can map: VM types whose files start shared, and versions in place.
        launch: it belongs before the end of the launch.
        only: VM types that have it; empty: all.
    """

    name: str
    toml: str
    vcpu: bool = False
    host: bool = False
    launch: bool = False
    only: frozenset[str] = frozenset()


_PRIVATE: Final = frozenset({"sw-protected", "snp", "tdx"})

OPERATIONS: Final = (
    Operation("touch", '{ op = "touch", write = "{task}" }', vcpu=True),
    Operation("pre-fault", '{ op = "prefault" }', vcpu=True),
    Operation("host write", '{ op = "host_write", map = "m", value = "host" }', host=True),
    Operation("pin", '{ op = "pin", map = "m" }, { op = "unpin", map = "m" }', host=True),
    Operation("madvise", '{ op = "madvise", map = "m" }', host=True),
    Operation("munmap", '{ op = "munmap", map = "m" }', host=True),
    Operation("allocate", '{ op = "allocate" }'),
    Operation("punch", '{ op = "punch" }'),
    Operation("to private", '{ op = "convert", private = true }', only=_PRIVATE),
    Operation("to shared", '{ op = "convert", private = false }', only=_PRIVATE),
    Operation("memory failure", '{ op = "memory_failure" }'),
    Operation("delete slot", '{ op = "unbind", slot = 0 }'),
    Operation("make slot", '{ op = "bind", slot = 0 }'),
    Operation("close", '{ op = "close", file = "gmem0" }'),
    Operation(
        "populate",
        '{ op = "populate", source = "image" }, { op = "launch_finish" }',
        launch=True,
        only=frozenset({"snp", "tdx"}),
    ),
)


@attrs.frozen
class Pair:
    """One cell: two operations on one version and VM type."""

    first: str
    second: str
    patch: str
    arch: str


def pairs(patch: str, *, in_place: bool = False) -> Iterator[Pair]:
    """All cells of a version, VM type by VM type; an operation also meets itself."""
    for arch in ARCHES:
        mapped = arch == "default" or in_place
        here = [one for one in OPERATIONS if (not one.only or arch in one.only) and (mapped or not one.host)]
        for first, second in combinations_with_replacement(here, 2):
            # No vCPU can run before its VM's launch is finished.
            if not (first.name == "touch" and second.launch):
                yield Pair(first.name, second.name, patch, arch)


def scenario_text(pair: Pair) -> str:
    """The scenario of a cell, as TOML."""
    by_name = {one.name: one for one in OPERATIONS}
    both = (by_name[pair.first], by_name[pair.second])
    names = {one.name for one in both}
    launch = any(one.launch for one in both)
    host = any(one.host for one in both)
    flags = ["MMAP", "INIT_SHARED"] if pair.arch == "default" else ["MMAP"] if host else []
    if host and pair.arch != "default":
        flags.append("INIT_SHARED")
    lines = [
        "[scenario]",
        f'name = "pair"\nsummary = "{pair.first} against {pair.second}"\nquestion = "What comes of the two?"',
        '[[vm]]\nid = "vm0"\naccept = "tolerant"\non_memory_fault = "stop"',
        "choices = { sept_ve_disable = false }",
        f'[[file]]\nid = "gmem0"\npages = 1\nflags = {flags!r}',
        '[[slot]]\nid = 0\nfile = "gmem0"\ngfn = 0x10000',
    ]
    if names == {"make slot"} or (names & {"make slot"} and "delete slot" not in names):
        lines.append("absent = true")
    if host:
        lines.append('[[map]]\nid = "m"\nfile = "gmem0"')
    setup = ["finalize = false" if launch else ""]
    if "memory failure" in names:
        setup.append('ops = [{ op = "allocate" }]')
    lines.append("[setup]\n" + "\n".join(line for line in setup if line))
    for number, one in enumerate(both):
        role = 'role = "vcpu"' if one.vcpu else f'name = "t{number}"'
        lines.append(f"[[task]]\n{role}\nops = [{one.toml}]")
    return "\n\n".join(lines)


def explore_pair(
    pair: Pair, *, strategy: str = "preemption:2", schedules: int = 300, steps: int = 4_000
) -> dict[str, Any]:
    """Search one cell; what came of it, for a JSON line."""
    program = ScenarioProgram(
        scenario=loads(scenario_text(pair), "pair.toml"), patch=pair.patch, arch=pair.arch, small=False
    )
    chosen = make_strategy(strategy, 0)
    result = search(program, chosen, Limits(schedules=schedules, steps=steps), keep_going=True, judge=judge)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    if result.complete:
        scope = f"complete: {result.bound}" if result.bound else "complete"
    else:
        cost = getattr(chosen, "cost", 0)
        scope = f"complete below {cost} preemptions" if cost else "not complete"
    return {
        **attrs.asdict(pair),
        "strategy": strategy,
        "scope": scope,
        "schedules": result.schedules,
        "unfair": result.dismissed,
        "violations": [
            {"rule": found.failure.rule, "kind": found.failure.kind, "summary": found.failure.summary}
            for found in result.found
        ],
    }
