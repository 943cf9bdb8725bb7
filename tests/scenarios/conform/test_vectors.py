"""The selftests' vectors pass, altered ones do not, and what is not known is never passed."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
import pytest

from gmemsim.actors.release import RELEASES
from gmemsim.arch.registry import ARCHES
from gmemsim.patches.registry import IN_PLACE, PATCHES
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.conform import (
    Case,
    Step,
    Unsupported,
    Vector,
    Verdict,
    applicable,
    build_case,
    load_vectors,
    version_of,
)
from gmemsim.scenarios.conform.known import KNOWN_MISSES, explanation
from gmemsim.scenarios.conform.suite import EMBEDDED, judge

#: Every version that the vectors speak of.
VERSIONS = {name: cls for name, cls in {**PATCHES, **IN_PLACE}.items() if version_of(cls)}

VECTORS = load_vectors(EMBEDDED)
BY_ID = {vector.id: vector for vector in VECTORS}

#: Whole-range tests of four threads: seconds each; one schedule is enough here.
HEAVY = {vector.id for vector in VECTORS if vector.id.startswith("convert-") and "-mt-" in vector.id}


def case(vector: Vector, patch: str, vm_type: str) -> Case:
    cls = VERSIONS[patch]
    return Case(vector, cls, vm_type, RELEASES[cls.default_release])


def verdict(vector: Vector, patch: str, vm_type: str) -> Verdict:
    try:
        return build_case(case(vector, patch, vm_type)).verdict()
    except Unsupported as error:
        return Verdict("unsupported", got=str(error))


def test_embedded_file_is_complete() -> None:
    assert len(VECTORS) == 258
    assert {vector.evidence for vector in VECTORS} >= {"asserted", "asserted_series", "documented", "derived"}


@pytest.mark.parametrize("patch", sorted(VERSIONS))
@pytest.mark.parametrize("evidence", ["asserted", "asserted_series", "asserted_rfc", "documented", "derived"])
def test_vectors_pass(patch: str, evidence: str) -> None:
    """On every version and VM type to which they apply; a miss is one that is explained."""
    missed: list[tuple[str, str, Any]] = []
    for vector in VECTORS:
        if vector.evidence != evidence:
            continue
        for vm_type in ARCHES:
            if applicable(vector, VERSIONS[patch], vm_type):
                continue
            found = judge(case(vector, patch, vm_type), schedules=1 if vector.id in HEAVY else 4)
            if vector.setup.variant and patch == "inplace-v8":
                # For the interface of an RFC, which is a variant of the version that came of it.
                assert found.verdict.result == "unsupported"
            elif found.verdict.result != "passed" and not found.why:
                missed.append((vector.id, vm_type, found.verdict))
    assert not missed


def test_explained_misses_are_misses() -> None:
    """An explanation that nothing needs any more has to go."""
    for ident in KNOWN_MISSES:
        vector = BY_ID[ident]
        results = [
            verdict(vector, patch, vm_type).result
            for patch, cls in VERSIONS.items()
            for vm_type in ARCHES
            if not applicable(vector, cls, vm_type) and explanation(vector, vm_type, cls.name)
        ]
        assert "failed" in results


# -- altered expectations --------------------------------------------------------------------------------


def alterations(step: Step) -> list[dict[str, Any]]:
    """Expectations that the step must not meet, given that it meets its own."""
    expect = step.expect
    found: list[dict[str, Any]] = []
    result = expect["result"]
    if result in ("any_of", "error") or step.branches:
        return []
    for other in ("ok", "EINVAL", "SIGBUS"):
        if other != result:
            found.append({"result": other})
            break
    if isinstance(expect.get("value"), int):
        found.append({**expect, "value": expect["value"] ^ 1})
    numbers = ("error_offset", "remaining_size", "remaining_len", "gpa", "size", "st_size", "processed")
    found += [{**expect, name: expect[name] + 4096} for name in numbers if name in expect]
    if expect.get("flags") == ["PRIVATE"]:
        found.append({**expect, "flags": []})
    if "errno" in expect:
        found.append({**expect, "errno": "EPERM"})
    return found


def altered(vector: Vector, number: int, expect: dict[str, Any]) -> Vector:
    steps = list(vector.steps)
    steps[number] = attrs.evolve(steps[number], expect=expect)
    return attrs.evolve(vector, steps=tuple(steps))


def places(patch: str) -> list[tuple[Vector, int, dict[str, Any]]]:
    found = []
    for vector in VECTORS:
        if applicable(vector, VERSIONS[patch], vm_type_of(vector)) or vector.id in HEAVY:
            continue
        for number, step in enumerate(vector.steps):
            found += [(vector, number, expect) for expect in alterations(step)]
    Random(1).shuffle(found)
    return found


def vm_type_of(vector: Vector) -> str:
    return vector.vm_types[0].replace("_", "-")


@pytest.mark.parametrize("patch", ["v3", "inplace"])
def test_alterations_are_noticed(patch: str) -> None:
    """Every alteration in at least 200 places a version."""
    tried = 0
    unnoticed = []
    for vector, number, expect in places(patch)[:260]:
        vm_type = vm_type_of(vector)
        if verdict(vector, patch, vm_type).result != "passed":
            continue
        tried += 1
        found = verdict(altered(vector, number, expect), patch, vm_type)
        if found.result != "failed" or found.step != str(number):
            unnoticed.append((vector.id, number, expect, found))
    assert tried >= 200
    assert not unnoticed


def test_parallel_branches_are_explored() -> None:
    """Different schedules really are different, and a branch that fails is found."""
    vector = BY_ID["race-close-vs-fault"]
    steps = [len(build_case(case(vector, "v3", "sw-protected")).engine.tape) for _ in range(2)]
    assert steps == [0, 0]
    parallel = vector.steps[0]
    reader = attrs.evolve(parallel.branches[0][0], expect={"result": "value", "value": 0})
    broken = attrs.evolve(parallel, branches=((reader,), *parallel.branches[1:]))
    found = judge(case(attrs.evolve(vector, steps=(broken,)), "v3", "sw-protected"), schedules=5)
    assert found.verdict.result == "failed"
    assert found.verdict.step == reader.path


def test_user_versions_count_as_their_parent() -> None:
    class Mine(V3):
        name = "mine"

    assert version_of(Mine) == "v3"
    assert version_of(PATCHES["v1"]) is None


def test_a_broken_version_fails() -> None:
    """A version that never clears fails a vector that reads zeros."""

    class Dirty(V3):
        name = "dirty"

        async def kvm_gmem_clear_folio(self, t: Any, inode: Any, folio: Any, pages: int) -> None:
            pass

    vector = BY_ID["mmap-collapse-refused-default"]
    run = build_case(Case(vector, Dirty, "default", RELEASES["7.2"]))
    assert run.verdict().result == "failed"
