"""Each switch does what its entry says, and the version without it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.model.rig import BASE, Rig, only

from gmemsim.actors.errno import EBUSY
from gmemsim.actors.release import RELEASES
from gmemsim.audit.kvm_events import MmuNotifierStart, VmsaReload
from gmemsim.cli.listing import command
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.posted import CHANGES, SEEDS
from gmemsim.patches.registry import load_patch

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


@pytest.mark.parametrize(("patch", "expected"), [("inplace", EBUSY), ("inplace+mf-delayed", 0)])
def test_mf_delayed(patch: str, expected: int) -> None:
    r = Rig(load_patch(patch), "shared")
    r.call(r.guest())
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == expected


@pytest.mark.parametrize(
    ("patch", "told"), [("mainline-7.3", 1), ("mainline-7.3+no-notifier-for-gmem-only", 0)]
)
def test_no_notifier_for_gmem_only(patch: str, told: int) -> None:
    r = Rig(load_patch(patch), "shared")
    slot = r.vm.slots[0]
    mapping = slot.hva = r.mappings[0]
    mapping.vms.append(r.vm)
    r.call(lambda t: r.kernel.madvise_dontneed(t, mapping, 0, 1))
    assert len(only(r.events, MmuNotifierStart)) == told


@pytest.mark.parametrize(("patch", "unassigned"), [("hugepage", 7), ("hugepage+psmash-unassigned-benign", 0)])
def test_psmash_unassigned_benign(patch: str, unassigned: int) -> None:
    r = Rig(load_patch(patch), "snp")
    vcpu = r.vm.vcpus[0]

    async def failed(t: Task) -> tuple[int, int]:
        assert isinstance(r.kernel, Hugepage)
        host = await r.kernel.sev_psmash_failed(t, vcpu, 100, 7)
        await r.arch.rmp_make_private(t, 512, BASE, 2, 1)
        return host, await r.kernel.sev_psmash_failed(t, vcpu, 512, 7)

    assert r.call(failed) == (unassigned, 7), "an entry that is a guest's is an error all the same"


@pytest.mark.parametrize(("patch", "sections"), [("hugepage", 0), ("hugepage+zap-gfn-range-srcu", 1)])
def test_zap_gfn_range_srcu(patch: str, sections: int) -> None:
    r = Rig(load_patch(patch), "private")
    seen: list[int] = []
    r.recorders.append(lambda task, event: seen.append(len(list(r.vm.srcu.holders()))))
    r.call(lambda t: r.kernel.kvm_zap_gfn_range(t, r.vm, BASE, BASE + 1))
    assert max(seen) == sections


@pytest.mark.parametrize(
    ("patch", "put_first"), [("v3", False), ("v3+vmsa-early-put", True), ("inplace", True)]
)
def test_vmsa_early_put(patch: str, put_first: bool) -> None:
    """Whether the page has only the page cache's references when mmu_lock is taken."""
    r = Rig(load_patch(patch), "snp")
    r.vm.finalized = True
    vcpu = r.vm.vcpus[0]
    r.call(lambda t: r.kernel.sev_snp_ap_creation(t, vcpu, BASE + 1))
    held: list[int] = []

    def look(task: Task, event: Any) -> None:
        if isinstance(event, VmsaReload):
            folio = r.inode.folios[1]
            held.append(folio.ref - folio.pages - r.kernel.lru_references(folio))

    r.recorders.append(look)
    r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, True, None))
    assert held == [0 if put_first else 1]


def test_every_switch_has_a_test() -> None:
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert set(SEEDS) <= tested


def test_the_release_of_the_series() -> None:
    assert load_patch("inplace").default_release == "7.4"
    assert "7.4" in RELEASES


def rows(kind: str) -> Any:
    import json

    return json.loads(CliRunner().invoke(command, [kind, "--json"]).output)


def test_they_are_listed_with_their_state() -> None:
    listed = {row["name"]: row for row in rows("changes")}
    assert set(listed) == set(CHANGES)
    assert {row["state"] for row in listed.values()} == {"posted", "acked", "queued"}
    assert listed["mf-delayed"]["switch"]
    assert not listed["rmp-fault-early-put"]["switch"]


def test_hugepage_says_how_old_it_is() -> None:
    said = {row["name"]: row["summary"] for row in rows("patches")}
    assert "RFC of 2025" in said["hugepage"]
    assert said["inplace"] != said["inplace-off"]
