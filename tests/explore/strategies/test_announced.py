"""Every change of shared state is announced: what each step of library scenarios really changed, held against its ops.

A line by hand or a declaration that goes missing fails here: the heap is compared, whatever the code says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.explore.strategies.shadow import shadow

from gmemsim.arch.registry import ARCHES
from gmemsim.engine.observed import declared_fields
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.catalogue import load_named, names, zoo_names
from gmemsim.scenarios.errors import ScenarioError

#: Scenario, version, VM type and seed of runs that change each declared field once at least, as far as any run does.
SAMPLE: tuple[tuple[str, str, str, int], ...] = (
    ("zoo-poison_later", "v3", "tdx", 2),
    ("close", "v3", "snp", 2),
    ("zoo-huge_put", "hugepage", "sw-protected", 1),
    ("zoo-launch_apart", "hugepage", "snp", 3),
    ("zoo-vmsa", "v3", "snp", 1),
    ("bind_errors", "v3", "default", 2),
    ("zoo-huge_alloc_race", "hugepage", "snp", 2),
    ("zoo-launch_apart", "v3", "tdx", 3),
    ("zoo-processes", "hugepage", "default", 2),
    ("lazy_accept", "v3", "snp", 3),
    ("conv1_punch1", "v3", "sw-protected", 3),
    ("zoo-poison_host_fault", "v3", "default", 2),
    ("zoo-poison_punch", "v3", "default", 2),
    ("zoo-launch_late", "v3", "snp", 1),
    ("zoo-launch_half_huge", "hugepage", "tdx", 3),
    ("zoo-pkvm_lent", "inplace", "pkvm", 1),
    ("host_private", "inplace", "pkvm", 1),
    ("zoo-tdx_fails", "v3", "tdx", 5),
    ("zoo-tdx_fails", "v3", "tdx", 9),
    ("zoo-launch", "baseline", "tdx", 1),
)

#: Declared, and changed by no run of the sample: what it would take.
NEVER = {
    "Child.files": "a forked process that creates or closes a file",
    "Hugepage._queue": "the last put of a page of a split folio while others of it are held",
    "Hugepage._worker": "as `_queue`",
    "Hugepage.subpools": "a file with huge folios that is created or evicted in the run",
    "Machine.armed": "a signal that is sent ahead of an operation, which only vectors do",
    "RmpEntries._tables": "256 single entries of a region, which only large runs have",
    "SnpHost.launch_page_type": "a launch of zero pages in the run",
    "Split.left": "a split folio of which pages leave the page cache",
    "TdxFrames.poisoned": "a host write to a page of a TD, which no version lets happen in these scenarios",
    "Vm.killed": "a TD that reads such a page",
    "Vmsa.reload": "a hole in the range of a VMSA in use",
}


def unannounced(runs: Iterable[tuple[str, str, str, int]]) -> tuple[dict[str, str], set[str]]:
    """What was missed, with where; and what was changed, as `class.attribute`."""
    missed: dict[str, str] = {}
    changed: set[str] = set()
    for name, patch, arch, seed in runs:
        program = ScenarioProgram(scenario=load_named(name), patch=patch, arch=arch, rules=frozenset())
        try:
            found = shadow(program, seed)
        except ScenarioError:
            # A scenario of another version, or VM type.
            continue
        for what, step in found.missed.items():
            missed.setdefault(what, f"{name} on {patch}, {arch}, seed {seed}: {step}")
        changed |= {f"{cls.__qualname__}.{field}" for cls, field in found.changed}
    return missed, changed


def never_changed(changed: set[str]) -> set[str]:
    """Declared fields of the project that no run changed."""
    ours = {
        f"{cls.__qualname__}.{name}" for cls, name in declared_fields if cls.__module__.startswith("gmemsim.")
    }
    return ours - changed


def test_what_a_step_changes_is_announced() -> None:
    missed, changed = unannounced(SAMPLE)
    assert missed == {}
    assert never_changed(changed) == NEVER.keys()


@pytest.mark.long
@pytest.mark.parametrize(
    "patch", ["baseline", "v2", "v3", "mainline-7.3", "inplace-v8", "inplace", "hugepage"]
)
def test_what_a_step_changes_is_announced_in_every_scenario(patch: str) -> None:
    missed, _ = unannounced(
        (name, patch, arch, seed)
        for name in (*names(), *zoo_names())
        for arch in load_named(name).head.vm_types or ARCHES
        for seed in (1, 2)
    )
    assert missed == {}
