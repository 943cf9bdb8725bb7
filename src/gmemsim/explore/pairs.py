"""Every pair of operations against each other: small scenarios made from the table of operations, and their searches.

Each cell is one page of one file, in one or more states in which both operations mean something (`SETUPS`), and two
tasks with one operation each. What an operation is expected to return is left open; the oracles, the engine and the
sequential order judge.
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

__all__ = [
    "BESIDE",
    "HUGE_OPERATIONS",
    "OPERATIONS",
    "SETUPS",
    "Operation",
    "Pair",
    "explore_pair",
    "known",
    "pairs",
]

#: States of the page: nobody has touched it; the guest uses it, as private memory where there is such; it is shared,
#: and guest and host use it.
SETUPS: Final = ("untouched", "used", "shared")


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


#: The same for a file of one huge page, of which the guest uses the first pages: `split` and `merge` are conversions.
HUGE_OPERATIONS: Final = (
    Operation("touch", '{ op = "touch", start = 0, count = 1, write = "{task}" }', vcpu=True),
    Operation("touch neighbour", '{ op = "touch", start = 1, count = 1, write = "{task}" }', vcpu=True),
    Operation(
        "host write", '{ op = "host_write", map = "m", start = 0, count = 1, value = "host" }', host=True
    ),
    Operation("allocate", '{ op = "allocate", start = 0, count = 1 }'),
    Operation("punch", '{ op = "punch" }'),
    Operation("punch page", '{ op = "punch", start = 0, count = 1 }'),
    Operation("split", '{ op = "convert", private = false, start = 0, count = 1 }', only=_PRIVATE),
    Operation("merge", '{ op = "convert", private = true }', only=_PRIVATE),
    Operation("memory failure", '{ op = "memory_failure", start = 0, count = 1 }'),
    Operation("delete slot", '{ op = "unbind", slot = 0 }'),
    Operation("close", '{ op = "close", file = "gmem0" }'),
)


@attrs.frozen
class Pair:
    """Two operations on one version and VM type, from one state of the page."""

    first: str
    second: str
    patch: str
    arch: str
    setup: str = "untouched"
    huge: bool = False


def pairs(patch: str, *, in_place: bool = False, huge: bool = False) -> Iterator[Pair]:
    """All of a version, VM type by VM type; an operation also meets itself. `huge`: on a file of one huge page."""
    for arch in ARCHES:
        if huge and arch == "default":
            continue
        mapped = arch == "default" or in_place
        here = [
            one
            for one in (HUGE_OPERATIONS if huge else OPERATIONS)
            if (not one.only or arch in one.only) and (mapped or not one.host)
        ]
        for first, second in combinations_with_replacement(here, 2):
            # No vCPU can run before its VM's launch is finished.
            if first.name == "touch" and second.launch:
                continue
            for setup in SETUPS:
                if setup == "untouched" or _can_be_touched(first, second, arch, in_place, setup):
                    yield Pair(first.name, second.name, patch, arch, setup, huge)


def _can_be_touched(first: Operation, second: Operation, arch: str, in_place: bool, setup: str) -> bool:
    """Whether the guest can have used the page: its slot is there, and its launch over."""
    names = {first.name, second.name}
    if first.launch or second.launch or ("make slot" in names and "delete slot" not in names):
        return False
    # With the VM's attributes, shared memory of a VM with private memory is no page of the file.
    return setup == "used" or in_place or arch == "default"


def scenario_text(pair: Pair) -> str:
    """The scenario of a cell, as TOML."""
    by_name = {one.name: one for one in (HUGE_OPERATIONS if pair.huge else OPERATIONS)}
    both = (by_name[pair.first], by_name[pair.second])
    names = {one.name for one in both}
    launch = any(one.launch for one in both)
    host = any(one.host for one in both)
    shared = pair.arch == "default" or pair.setup == "shared" or host
    flags = ["MMAP", "INIT_SHARED"] if shared else []
    flags += ["HUGETLB", "HUGETLB_2M"] if pair.huge else []
    pages, one_page = (512, ", start = 0, count = 1") if pair.huge else (1, "")
    mapped = host or pair.setup == "shared"
    lines = [
        "[scenario]",
        f'name = "pair"\nsummary = "{pair.first} against {pair.second}"\nquestion = "What comes of the two?"',
        '[[vm]]\nid = "vm0"\naccept = "tolerant"\non_memory_fault = "stop"',
        "choices = { sept_ve_disable = false }",
        f'[[file]]\nid = "gmem0"\npages = {pages}\nflags = {flags!r}',
        '[[slot]]\nid = 0\nfile = "gmem0"\ngfn = 0x10000',
    ]
    if names == {"make slot"} or (names & {"make slot"} and "delete slot" not in names):
        lines.append("absent = true")
    if mapped:
        lines.append('[[map]]\nid = "m"\nfile = "gmem0"')
    setup = ["finalize = false" if launch else ""]
    before = (
        [f'{{ op = "host_write", map = "m", value = "before"{one_page} }}'] if pair.setup == "shared" else []
    )
    if pair.setup == "used" and shared and pair.arch != "default":
        before = ['{ op = "convert", private = true }']
    if pair.setup != "untouched":
        before.append(f'{{ op = "touch", write = "guest"{one_page} }}')
    elif "memory failure" in names:
        before.append(f'{{ op = "allocate"{one_page} }}')
    if before:
        setup.append(f"ops = [{', '.join(before)}]")
    lines.append("[setup]\n" + "\n".join(line for line in setup if line))
    if pair.setup != "untouched" and not any(one.vcpu for one in both):
        # The setup's touch needs one; here it has nothing to do.
        lines.append('[[task]]\nrole = "vcpu"\nops = [{ op = "sleep", time = 0 }]')
    for number, one in enumerate(both):
        role = 'role = "vcpu"' if one.vcpu else f'name = "t{number}"'
        lines.append(f"[[task]]\n{role}\nops = [{one.toml}]")
    return "\n\n".join(lines)


def explore_pair(
    pair: Pair,
    *,
    schedules: int = 300,
    sampled: int = 0,
    steps: int | None = None,
    strategy: str = "preemption:2",
) -> dict[str, Any]:
    """Search one pair; what came of it, for a JSON line.

    Args:
        schedules: at most so many are enumerated with `strategy`.
        sampled: if that was not all within its bound, so many more are drawn with POS.
        steps: of a run at most; None: 4,000, and 20,000 with huge pages.
    """
    program = ScenarioProgram(
        scenario=loads(scenario_text(pair), "pair.toml"), patch=pair.patch, arch=pair.arch, small=False
    )
    steps = steps or (20_000 if pair.huge else 4_000)
    chosen = make_strategy(strategy, 0)
    results = [
        search(program, chosen, Limits(schedules=schedules, steps=steps), keep_going=True, judge=judge)
    ]
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
    found = {one.failure.signature: one.failure for result in results for one in result.found}
    return {
        **attrs.asdict(pair),
        "strategy": strategy,
        "scope": scope,
        "schedules": sum(result.schedules for result in results),
        "sampled": sum(result.schedules for result in results[1:]),
        "unfair": sum(result.dismissed for result in results),
        "violations": [
            {"rule": failure.rule, "kind": failure.kind, "summary": failure.summary}
            for failure in found.values()
        ],
    }


#: Locks that may stand beside the folio lock and the invalidate lock in the deadlock that memory failure is known for.
BESIDE: Final = frozenset(
    {"folio", "invalidate_lock", "slots_lock", "slots_arch_lock", "srcu", "mmap_lock", "mf_mutex"}
)


def known(names: set[str], violation: dict[str, str]) -> str:
    """The letter of the finding that a violation in a cell of these operations is, by rule and locks; else nothing."""
    rule, locks = violation["rule"], frozenset(violation["kind"].split())
    if rule == "deadlock" and "freeze" in locks:
        return "F"
    if rule == "I35" and "punch page" in names:
        return "P"
    if "memory failure" in names:
        if rule == "deadlock" and {"folio", "invalidate_lock"} <= locks <= BESIDE:
            return "D"
        if rule == "I19":
            return "E"
    if "delete slot" in names and rule == "I28":
        return "S"
    return ""
