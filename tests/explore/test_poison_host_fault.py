"""A host fault on a page that is being poisoned: the page that a guest maps stays, except in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.model.inplace_rig import InplaceRig

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.inplace import Inplace
from gmemsim.scenarios.catalogue import load_named
from gmemsim.studies.matrix import cells, explore_cell

if TYPE_CHECKING:
    from gmemsim.actors.inode import GmemInode
    from gmemsim.engine.task import Task


def rules(scenario: str, patch: str, schedules: int) -> list[str]:
    """What a search of the scenario finds first."""
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch="default")
    found = search(program, make_strategy("portfolio", 0), Limits(schedules=schedules)).found
    return [one.failure.rule for one in found]


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3"])
def test_a_mapped_page_is_dirty_and_stays(patch: str) -> None:
    """Measured on 6.18.15 and 7.3.4: never evicted."""
    assert rules("zoo-poison_host_fault", patch, 100) == []


def test_in_place_it_is_clean_and_goes() -> None:
    assert rules("zoo-poison_host_fault", "inplace", 200) == ["I19"]


@pytest.mark.parametrize("patch", ["v3", "mainline-7.3", "inplace"])
def test_a_hole_does_not_repair_a_mapping(patch: str) -> None:
    """SIGBUS until MADV_DONTNEED, as measured on 7.3.4; the scenario expects it."""
    assert rules("zoo-poison_repair", patch, 5) == []


@pytest.mark.long
def test_it_goes_between_get_pfn_and_the_mapping() -> None:
    """No invalidation tells the fault to retry: the same finding, seen in the guest's step."""
    (cell,) = (
        one
        for one in cells("inplace", 3)
        if (one.arch, one.setup) == ("sw-protected", "untouched")
        and one.names == ("touch", "host write", "memory failure")
    )
    violations = explore_cell(cell, states=20_000, schedules=0)["violations"]
    known = {(one["rule"], one["kind"]): one["known"] for one in violations}
    assert {("I19", "MapRet"), ("I2", "MapRet")} <= known.keys()
    assert set(known.values()) == {"host-fault-on-poisoned-page"}


class TellsNobody(Inplace):
    """There is no page that hardware has to be told of."""

    async def kvm_gmem_make_pages_shared(self, t: Task, inode: GmemInode, pfn: int, pages: int) -> None:
        raise AssertionError(pfn)


def test_a_conversion_takes_no_reference_of_a_page_that_went() -> None:
    machine = InplaceRig(TellsNobody, pages=2)
    inode, kernel = machine.files[0].inode, machine.inplace
    machine.do(lambda t: machine.access(t, 0, 0, 0, True))
    folio = inode.folios[0]
    used: list[object] = []

    async def evict(t: Task) -> None:
        await kernel.lru_add_drain_all(t)
        folio.ref += 1  # that of who looked it up
        assert await kernel.mapping_evict_folio(t, inode, folio)
        await kernel.folio_put(t, inode, folio)
        used.append(await kernel.folio_has_outside_reference(t, inode, folio, []))
        await kernel.kvm_gmem_make_folio_shared(t, inode, folio, 0, 2)

    machine.do(evict)
    assert used == [False]
    assert folio.ref == 0
