"""Every change of shared state is announced: what each step of library scenarios really changed, held against its ops.

A line by hand or a declaration that goes missing fails here: the heap is compared, whatever the code says of itself.
"""

from __future__ import annotations

from tests.explore.strategies.shadow import shadow

from gmemsim.arch.registry import ARCHES
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.catalogue import load_named, names


def unannounced(
    patch: str, seeds: range, only: frozenset[str] = frozenset()
) -> tuple[dict[str, str], set[str]]:
    """What was missed, with where; and what was changed, as `class.attribute`."""
    missed: dict[str, str] = {}
    changed: set[str] = set()
    for name in sorted(only) or names():
        scenario = load_named(name)
        for arch in scenario.head.vm_types or ARCHES:
            if arch == "pkvm" and patch not in ("inplace-v8", "inplace"):
                continue
            for seed in seeds:
                found = shadow(
                    ScenarioProgram(scenario=scenario, patch=patch, arch=arch, rules=frozenset()), seed
                )
                for what, step in found.missed.items():
                    missed.setdefault(what, f"{name} on {patch}, {arch}, seed {seed}: {step}")
                changed |= {f"{cls.__qualname__}.{field}" for cls, field in found.changed}
    return missed, changed
