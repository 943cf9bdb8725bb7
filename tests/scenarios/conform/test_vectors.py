"""The selftests' vectors pass, altered ones do not, and what is not known is never passed."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import attrs
import pytest

from gmemsim.actors.release import RELEASES
from gmemsim.arch.registry import ARCHES
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.strategies.complete_first import CompleteFirst
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.registry import IN_PLACE, PATCHES, VARIANTS
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
from gmemsim.scenarios.conform.vector import parse_vector

#: Every version that the vectors speak of.
VERSIONS = {name: cls for name, cls in {**PATCHES, **IN_PLACE}.items() if version_of(cls)}

VECTORS = load_vectors(*EMBEDDED)
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
    assert len(VECTORS) == 258 + 66
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


@pytest.mark.parametrize("least", [50, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("patch", ["v3", "inplace"])
def test_alterations_are_noticed(patch: str, least: int) -> None:
    """Alterations in at least so many places a version."""
    tried = 0
    unnoticed = []
    for vector, number, expect in places(patch)[: least * 13 // 10]:
        vm_type = vm_type_of(vector)
        if verdict(vector, patch, vm_type).result != "passed":
            continue
        tried += 1
        found = verdict(altered(vector, number, expect), patch, vm_type)
        if found.result != "failed" or found.step != str(number):
            unnoticed.append((vector.id, number, expect, found))
    assert tried >= least
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


@pytest.mark.parametrize("states", [40, 400])
def test_a_run_that_only_an_unfair_schedule_keeps_from_ending_passes(states: int) -> None:
    """A guest that writes to a deleted slot for ever, until the host makes it again: it has its turn in the end."""
    (vector,) = [one for one in VECTORS if one.id == "exit-slot-deleted-write-loop-per-vm"]
    result = judge(
        case(vector, "v3", "sw-protected"),
        schedules=2,
        max_steps=100_000,
        search=partial(CompleteFirst, 0, states),
    )
    assert result.verdict.result == "passed", result.verdict
    assert not result.complete


def test_user_versions_count_as_their_parent() -> None:
    class Mine(V3):
        name = "mine"

    assert version_of(Mine) == "v3"
    # Also one that is in the table of versions and says nothing of vectors.
    assert version_of(VARIANTS["tracked"]) == "v3"
    assert version_of(IN_PLACE["inplace-off"]) is None
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


# -- what the runner makes of some of them ----------------------------------------------------------------


def made(steps: list[dict[str, Any]], vm_type: str = "default", **setup: Any) -> Vector:
    document = {
        "id": "made",
        "evidence": "derived",
        "applies_to": {"versions": ["v3"], "vm_types": [vm_type.replace("-", "_")]},
        "setup": setup,
        "steps": steps,
    }
    return parse_vector(document, "made:1", 1)


def a_step(op: str, expect: Any, actor: str = "host", **args: Any) -> dict[str, Any]:
    wanted = expect if isinstance(expect, dict) else {"result": expect}
    return {"actor": actor, "op": op, "args": args, "expect": wanted}


SHARED = {"id": "g0", "size": 8192, "flags": ["MMAP", "INIT_SHARED"]}
MAPPED = {"id": "m0", "gmem": "g0", "offset": 0, "len": 8192}


def test_a_mapping_that_is_gone() -> None:
    """Not an ordinary buffer of that name, and not in the child's hands if only the parent unmapped it."""
    vector = made(
        [
            a_step("fork", "ok"),
            a_step("munmap", "ok", map="m0"),
            a_step("host_read", "SIGSEGV", map="m0", offset=0, len=1),
            a_step("madvise", "ENOMEM", map="m0", offset=0, len=4096, advice="DONTNEED"),
            a_step("host_read", {"result": "value", "value": 0}, "child", map="m0", offset=0, len=1),
            a_step("exit", "ok", "child"),
            a_step("host_read", "ok", "child", map="m0", offset=0, len=1),
        ],
        gmems=[SHARED],
        maps=[MAPPED],
    )
    found = verdict(vector, "v3", "default")
    assert (found.result, found.got) == ("unsupported", "step 6: actor 'child', which no fork made")


def test_the_last_reference_of_a_child_releases_the_file() -> None:
    """Closed and unmapped in both, the file is evicted."""
    steps = [
        a_step("host_write", "ok", map="m0", offset=0, len=4096, value=1),
        a_step("fork", "ok"),
        a_step("close", "ok", gmem="g0"),
        a_step("munmap", "ok", map="m0"),
        a_step("exit", "ok", "child"),
    ]
    for count, evicted in ((4, False), (5, True)):
        run = build_case(case(made(steps[:count], gmems=[SHARED], maps=[MAPPED]), "v3", "default"))
        assert run.verdict().result == "passed"
        assert (not run.rig.world.inodes) == evicted


def test_a_signal_meets_one_operation_of_its_actor() -> None:
    allocate: Any = {"gmem": "g0", "offset": 0, "len": 4096, "mode": ["KEEP_SIZE"]}
    vector = made(
        [
            a_step("signal_pending", "ok", "host1"),
            a_step("fallocate", "ok", **allocate),
            a_step("fallocate", "EINTR", "host1", **allocate),
            a_step("fallocate", "ok", "host1", **allocate),
        ],
        gmems=[SHARED],
    )
    assert verdict(vector, "v3", "default").result == "passed"


def test_a_host_access_after_a_conversion() -> None:
    """A version that hands private pages to the host fails by what the vector says of all orders of its branches."""

    class Gives(Inplace):
        name = "gives"

        async def kvm_gmem_user_fault_folio(self, t: Any, inode: Any, index: int) -> Any:
            await inode.invalidate_lock.down_read(t)
            folio = await self.kvm_gmem_get_folio(t, inode, index)
            await inode.invalidate_lock.up_read(t)
            return folio

    vector = BY_ID["race-host-touch-vs-convert"]
    # Each step of the branches may see the page; those behind them may not, but they are another matter.
    vector = attrs.evolve(vector, steps=vector.steps[:2])
    found = judge(Case(vector, Gives, "sw-protected", RELEASES["7.3"]), schedules=30)
    assert found.verdict.result == "failed"
    assert "a host access that begins after" in str(found.verdict.expected)


def test_branches_begin_when_the_loops_are_under_way() -> None:
    """Under every schedule the page was read before the hole is punched."""
    gpa = 1 << 32
    loop = a_step("guest_read_loop", "exit_memory_fault", "vcpu0", gpa=gpa, len=8)
    others = [a_step("punch_hole", "ok", gmem="g0", offset=0, len=4096), a_step("unbind", "ok", slot=1)]
    vector = made(
        [a_step("parallel", "ok", branches=[[loop], others])],
        "sw-protected",
        vcpus=1,
        initial_state="private",
        gmems=[{"id": "g0", "size": 4096}],
        slots=[
            {"slot": 1, "gpa": gpa, "size": 4096, "gmem": "g0", "userspace": "u0", "flags": ["GUEST_MEMFD"]}
        ],
    )
    for seed in range(20):
        names = names_of_events(case(vector, "v3", "sw-protected"), seed)
        assert names.index("GuestTouch") < names.index("Fallocate")


def names_of_events(one: Case, seed: int) -> list[str]:
    events: list[str] = []
    run = build_case(one, RandomStrategy(seed), rec=lambda task, event: events.append(type(event).__name__))
    assert run.verdict().result == "passed"
    return events
