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
SAMPLE: tuple[tuple[str, str, str, int], ...] = ()

#: Declared, and changed by no run of a scenario that is tried here.
NEVER: dict[str, str] = {}


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
