"""The RMP: every transition and every code of arch.md 1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
import pytest

from gmemsim.arch.choices import SnpChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.psp import Psp, PspCommand, PspStatus
from gmemsim.arch.rmp import HYPERVISOR, REGION_PAGES, Rmp, RmpCode, RmpEntry

if TYPE_CHECKING:
    from tests.arch.conftest import Body, Runner

    from gmemsim.engine.task import Task

HEAD = 0x1000
PFN = HEAD + 5
ASID = 3
GFN = 0x805

PRIVATE = RmpEntry(True, ASID, GFN)
PRE_GUEST = RmpEntry(True, ASID, GFN, immutable=True)
HUGE = RmpEntry(True, ASID, 0x800, level=2)


@pytest.fixture
def rmp() -> Rmp:
    return Rmp(SnpChoices(), CostTable.zero())


def put(run: Runner, rmp: Rmp, entry: RmpEntry, pfn: int = PFN) -> int:
    async def body(t: Task) -> int:
        return await rmp.rmpupdate(t, pfn, entry)

    code: int = run.one(body)
    return code


def validate(
    run: Runner, rmp: Rmp, on: bool = True, pfn: int = PFN, gfn: int = GFN, level: int = 1
) -> int | None:
    async def body(t: Task) -> int | None:
        return await rmp.pvalidate(t, pfn, on, ASID, gfn, level)

    code: int | None = run.one(body)
    return code


def smash(run: Runner, rmp: Rmp, pfn: int = HEAD) -> int:
    async def body(t: Task) -> int:
        return await rmp.psmash(t, pfn)

    code: int = run.one(body)
    return code


def psp(run: Runner, rmp: Rmp, memory: PhysicalMemory, command: PspCommand) -> int:
    unit = Psp(memory, rmp, CostTable.zero())

    async def body(t: Task) -> int:
        return await unit.call(t, command)

    status: int = run.one(body)
    return status


# -- transitions -----------------------------------------------------------------------------------


def test_a_frame_without_an_entry_is_the_hosts(rmp: Rmp) -> None:
    assert rmp.entry(PFN) == HYPERVISOR
    assert rmp.entry(PFN).state == "hv"


def test_1_prepare_makes_a_frame_guest_invalid(run: Runner, rmp: Rmp) -> None:
    assert put(run, rmp, PRIVATE) == RmpCode.OK
    assert rmp.entry(PFN) == PRIVATE
    assert rmp.entry(PFN).state == "guest_invalid"


def test_2_populate_makes_a_frame_pre_guest(run: Runner, rmp: Rmp) -> None:
    assert put(run, rmp, PRE_GUEST) == RmpCode.OK
    assert rmp.entry(PFN).state == "pre_guest"


def test_3_launch_update_validates_a_pre_guest_frame(run: Runner, rmp: Rmp) -> None:
    memory = PhysicalMemory()
    memory.write(PFN, "data:kernel")
    put(run, rmp, PRE_GUEST)
    assert psp(run, rmp, memory, PspCommand("SNP_LAUNCH_UPDATE", ASID, PFN, GFN)) == PspStatus.SUCCESS
    assert rmp.entry(PFN).state == "guest_valid"
    assert not rmp.entry(PFN).immutable
    assert memory.read(PFN, ASID) == "data:kernel"


@pytest.mark.parametrize("state", ["firmware", "pre_guest"])
def test_3_a_failed_launch_update_leaves_the_frame_to_be_reclaimed(
    run: Runner, rmp: Rmp, state: Literal["firmware", "pre_guest"]
) -> None:
    rmp.choices = attrs.evolve(rmp.choices, failed_update_state=state)
    memory = PhysicalMemory()
    put(run, rmp, PRE_GUEST)
    command = PspCommand("SNP_LAUNCH_UPDATE", ASID, PFN, GFN, fail=True)
    assert psp(run, rmp, memory, command) == PspStatus.FAILED
    assert rmp.entry(PFN).state == state
    assert put(run, rmp, HYPERVISOR) == RmpCode.PERMISSION
    assert psp(run, rmp, memory, PspCommand("SNP_PAGE_RECLAIM", ASID, PFN)) == PspStatus.SUCCESS
    assert put(run, rmp, HYPERVISOR) == RmpCode.OK
    assert rmp.entry(PFN) == HYPERVISOR


@pytest.mark.parametrize(
    "entry",
    [HYPERVISOR, PRIVATE, PRE_GUEST._replace(asid=ASID + 1), PRE_GUEST._replace(gfn=GFN + 1)],
    ids=["hv", "guest_invalid", "other guest", "other address"],
)
def test_3_launch_update_wants_a_pre_guest_frame_of_that_guest_and_address(
    run: Runner, rmp: Rmp, entry: RmpEntry
) -> None:
    put(run, rmp, entry)
    before = rmp.entry(PFN)
    command = PspCommand("SNP_LAUNCH_UPDATE", ASID, PFN, GFN)
    assert psp(run, rmp, PhysicalMemory(), command) == PspStatus.INVALID_PAGE_STATE
    assert rmp.entry(PFN) == before


def test_4_and_5_the_guest_validates_and_rescinds(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, PRIVATE)
    assert validate(run, rmp) == RmpCode.OK
    assert rmp.entry(PFN).state == "guest_valid"
    assert validate(run, rmp, on=False) == RmpCode.OK
    assert rmp.entry(PFN).state == "guest_invalid"


@pytest.mark.parametrize("valid", [False, True])
def test_6_an_assigned_frame_becomes_the_hosts(run: Runner, rmp: Rmp, valid: bool) -> None:
    put(run, rmp, PRIVATE)
    if valid:
        validate(run, rmp)
    assert put(run, rmp, HYPERVISOR) == RmpCode.OK
    assert PFN not in rmp.entries
    assert not rmp.assigned


def test_7_psmash_keeps_owner_and_validated_bit(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, HUGE, HEAD)
    assert validate(run, rmp, pfn=HEAD, gfn=0x800, level=2) == RmpCode.OK
    assert smash(run, rmp) == RmpCode.OK
    assert rmp.entry(HEAD).level == 1
    assert rmp.entry(PFN) == RmpEntry(True, ASID, GFN, 1, validated=True)
    assert rmp.assigned == {HEAD // REGION_PAGES: REGION_PAGES}


def test_8_the_way_back_to_2m_is_through_the_host(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, HUGE, HEAD)
    smash(run, rmp)
    assert put(run, rmp, HUGE, HEAD) == RmpCode.OVERLAP
    for pfn in range(HEAD, HEAD + REGION_PAGES):
        assert put(run, rmp, HYPERVISOR, pfn) == RmpCode.OK
    assert put(run, rmp, HUGE, HEAD) == RmpCode.OK
    assert rmp.entry(HEAD).level == 2


# -- codes of RMPUPDATE ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pfn", "entry"), [(PFN, HUGE), (1 << 41, PRIVATE)], ids=["unaligned 2M", "not covered"]
)
def test_rmpupdate_1_bad_input(run: Runner, rmp: Rmp, pfn: int, entry: RmpEntry) -> None:
    assert put(run, rmp, entry, pfn) == RmpCode.BAD_INPUT


def test_rmpupdate_2_immutable(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, PRE_GUEST)
    assert put(run, rmp, PRIVATE) == RmpCode.PERMISSION
    assert rmp.entry(PFN) == PRE_GUEST


def test_rmpupdate_2_executed_by_a_guest(run: Runner, rmp: Rmp) -> None:
    async def body(t: Task) -> int:
        return await rmp.rmpupdate(t, PFN, PRIVATE, current_asid=ASID)

    assert run.one(body) == RmpCode.PERMISSION
    assert rmp.entry(PFN) == HYPERVISOR


def test_rmpupdate_4_small_inside_large(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, HUGE, HEAD)
    assert put(run, rmp, HYPERVISOR) == RmpCode.OVERLAP
    assert put(run, rmp, PRIVATE) == RmpCode.OVERLAP


def test_rmpupdate_4_large_over_small(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, PRIVATE)
    assert put(run, rmp, HUGE, HEAD) == RmpCode.OVERLAP
    assert rmp.overlap(HEAD, 2) == PFN


def updates(rmp: Rmp, *pfns: int) -> tuple[Body, ...]:
    def body(pfn: int) -> Body:
        async def update(t: Task) -> int:
            return await rmp.rmpupdate(t, pfn, RmpEntry(True, ASID, pfn - HEAD))

        return update

    return tuple(body(pfn) for pfn in pfns)


@pytest.mark.parametrize(
    ("second", "codes"),
    [
        (PFN, {(RmpCode.OK, RmpCode.OK), (RmpCode.IN_USE, RmpCode.OK), (RmpCode.OK, RmpCode.IN_USE)}),
        (PFN + 1, {(RmpCode.OK, RmpCode.OK), (RmpCode.OVERLAP, RmpCode.OK), (RmpCode.OK, RmpCode.OVERLAP)}),
        (PFN + REGION_PAGES, {(RmpCode.OK, RmpCode.OK)}),
    ],
    ids=["same page", "same region", "other region"],
)
def test_rmpupdate_3_and_4_meet_in_a_region(run: Runner, second: int, codes: set[tuple[int, int]]) -> None:
    """Complete for two updates: the region lock makes the codes, over all schedules."""

    def make() -> tuple[Body, ...]:
        return updates(Rmp(SnpChoices(), CostTable.zero()), PFN, second)

    seen = {tuple(outcome.results) for outcome in run.all(make)}
    assert seen == codes


@pytest.mark.parametrize("code", [RmpCode.OVERLAP, RmpCode.BAD_INPUT])
def test_what_a_smashed_page_answers_to_shared_is_a_choice(run: Runner, rmp: Rmp, code: int) -> None:
    rmp.choices = attrs.evolve(rmp.choices, smashed_to_shared_code=code)
    put(run, rmp, HUGE, HEAD)
    assert smash(run, rmp) == RmpCode.OK
    assert put(run, rmp, RmpEntry(level=2), HEAD) == code
    assert put(run, rmp, HUGE, HEAD) == RmpCode.OVERLAP


def test_region_busy_code_is_a_choice(run: Runner) -> None:
    choices = attrs.evolve(SnpChoices(), region_busy_code=RmpCode.IN_USE)

    def make() -> tuple[Body, ...]:
        return updates(Rmp(choices, CostTable.zero()), PFN, PFN + 1)

    codes = {code for outcome in run.all(make) for code in outcome.results}
    assert codes == {RmpCode.OK, RmpCode.IN_USE}


@pytest.mark.parametrize("clears", [True, False])
def test_an_identical_rmpupdate_and_the_validated_bit(run: Runner, rmp: Rmp, clears: bool) -> None:
    rmp.choices = attrs.evolve(rmp.choices, rmpupdate_clears_validated=clears)
    put(run, rmp, PRIVATE)
    validate(run, rmp)
    put(run, rmp, PRIVATE)
    assert rmp.entry(PFN).validated is not clears


@pytest.mark.parametrize("clears", [True, False])
def test_a_different_rmpupdate_always_clears_validated(run: Runner, rmp: Rmp, clears: bool) -> None:
    rmp.choices = attrs.evolve(rmp.choices, rmpupdate_clears_validated=clears)
    put(run, rmp, PRIVATE)
    validate(run, rmp)
    put(run, rmp, PRIVATE._replace(gfn=GFN + 1))
    assert rmp.entry(PFN).state == "guest_invalid"


@pytest.mark.parametrize("replicate", [True, False])
def test_a_2m_entry_shows_in_its_512_frames(run: Runner, rmp: Rmp, replicate: bool) -> None:
    rmp.choices = attrs.evolve(rmp.choices, replicate_2m=replicate)
    put(run, rmp, HUGE, HEAD)
    assert rmp.entry(HEAD).assigned
    assert rmp.entry(PFN).assigned is replicate
    if replicate:
        assert rmp.entry(PFN).gfn == GFN
    assert put(run, rmp, RmpEntry(level=2), HEAD) == RmpCode.OK
    assert not rmp.entries


# -- codes of PSMASH -------------------------------------------------------------------------------


def test_psmash_1_bad_input(run: Runner, rmp: Rmp) -> None:
    assert smash(run, rmp, PFN) == RmpCode.BAD_INPUT
    assert smash(run, rmp, 1 << 41) == RmpCode.BAD_INPUT


def test_psmash_2_immutable(run: Runner, rmp: Rmp) -> None:
    rmp.entries[HEAD] = HUGE._replace(immutable=True)
    assert smash(run, rmp) == RmpCode.PERMISSION


@pytest.mark.parametrize("entry", [HYPERVISOR, RmpEntry(True, ASID, 0x800)], ids=["hv", "4K"])
def test_psmash_7_nothing_to_smash(run: Runner, rmp: Rmp, entry: RmpEntry) -> None:
    put(run, rmp, entry, HEAD)
    assert smash(run, rmp) == RmpCode.BAD_PAGE


def test_psmash_3_in_use_and_the_loser_finds_4k(run: Runner) -> None:
    """Two PSMASHes of one region, every schedule: one does it; the other meets it or comes too late."""

    def make() -> tuple[Body, ...]:
        rmp = Rmp(SnpChoices(), CostTable.zero())
        put(run, rmp, HUGE, HEAD)

        async def body(t: Task) -> int:
            code = await rmp.psmash(t, HEAD)
            # Whoever lost sees 4K at the latest when the other is done.
            assert code != RmpCode.BAD_PAGE or rmp.entry(HEAD).level == 1
            return code

        return body, body

    seen = {frozenset(outcome.results) for outcome in run.all(make)}
    assert seen == {frozenset({RmpCode.OK, RmpCode.IN_USE}), frozenset({RmpCode.OK, RmpCode.BAD_PAGE})}


# -- codes of PVALIDATE ----------------------------------------------------------------------------


def test_pvalidate_255_no_change(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, PRIVATE)
    assert validate(run, rmp, on=False) == RmpCode.NO_CHANGE
    validate(run, rmp)
    assert validate(run, rmp) == RmpCode.NO_CHANGE


def test_pvalidate_6_size_mismatch(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, RmpEntry(True, ASID, 0x800), HEAD)
    assert validate(run, rmp, pfn=HEAD, gfn=0x800, level=2) == RmpCode.SIZE_MISMATCH
    assert not rmp.entry(HEAD).validated


@pytest.mark.parametrize(
    "entry",
    [HYPERVISOR, PRIVATE._replace(asid=ASID + 1), PRIVATE._replace(gfn=GFN + 1)],
    ids=["hv", "other guest", "other address"],
)
def test_pvalidate_faults_unless_the_entry_is_the_guests(run: Runner, rmp: Rmp, entry: RmpEntry) -> None:
    put(run, rmp, entry)
    assert validate(run, rmp) is None
    assert not rmp.entry(PFN).validated


def test_pvalidate_of_4k_in_a_2m_entry_faults(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, HUGE, HEAD)
    assert validate(run, rmp) is None


# -- look-up ---------------------------------------------------------------------------------------


def test_lookup_takes_the_level_from_the_head(run: Runner, rmp: Rmp) -> None:
    put(run, rmp, HUGE, HEAD)

    async def body(t: Task) -> RmpEntry | None:
        return await rmp.lookup(t, PFN)

    assert run.one(body) == RmpEntry(True, ASID, GFN, level=2)


def test_lookup_errors(run: Runner, rmp: Rmp) -> None:
    async def beyond(t: Task) -> RmpEntry | None:
        return await rmp.lookup(t, 1 << 41)

    async def covered(t: Task) -> RmpEntry | None:
        return await rmp.lookup(t, PFN)

    assert run.one(beyond) is None
    assert run.one(covered, faults={"rmp_lookup": 1}) is None
    assert run.one(covered) == HYPERVISOR


def test_a_lookup_can_be_torn(run: Runner) -> None:
    """arch.md 1.5 last row: own entry from before, level from after. Here: assigned, but no longer 2M."""

    def make() -> tuple[Body, ...]:
        rmp = Rmp(SnpChoices(), CostTable.zero())
        put(run, rmp, HUGE, HEAD)

        async def look(t: Task) -> RmpEntry | None:
            return await rmp.lookup(t, PFN)

        async def free(t: Task) -> int:
            return await rmp.rmpupdate(t, HEAD, RmpEntry(level=2))

        return look, free

    seen = {(found.assigned, found.level) for found in (outcome.results[0] for outcome in run.all(make))}
    assert seen == {(True, 2), (False, 1), (True, 1)}
