"""soft_offline_page: what it evicts, what it leaves alone (mm/memory-failure.c of 6.12.117 and 7.2.12)."""

from __future__ import annotations

import pytest
from tests.model.rig import BASE, Rig

from gmemsim.actors.errno import EBUSY
from gmemsim.actors.release import RELEASES
from gmemsim.patches.registry import load_patch


def rig(patch: str, release: str | None = None) -> Rig:
    r = Rig(load_patch(patch), "private", pages=2)
    if release is not None:
        r.kernel.release = RELEASES[release]
    return r


def offline(r: Rig, index: int = 0) -> int:
    ret: int = r.call(lambda t: r.kernel.soft_offline_page(t, r.inode, index))
    return ret


@pytest.mark.parametrize(
    ("patch", "release", "evicted"),
    [
        ("inplace", None, True),
        ("baseline", "6.12", True),
        # The end of a fault marked it dirty.
        ("baseline", None, False),
        ("mainline-7.3", None, False),
        ("inplace-v8", None, False),
    ],
)
def test_a_page_that_a_guest_maps(patch: str, release: str | None, *, evicted: bool) -> None:
    """Evicted, it stays mapped, and nobody gets its frame; the next fault finds an empty page."""
    r = rig(patch, release)
    vcpu = r.vm.vcpus[0]
    r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, None, "secret"))
    frame = r.inode.folios[0].pfn
    assert offline(r) == (0 if evicted else EBUSY)
    assert (0 in r.inode.folios) is not evicted
    spte = r.vm.stage2.find(BASE, True)
    assert spte is not None
    assert spte.pfn == frame
    r.call(lambda t: r.kernel.kvm_zap_gfn_range(t, r.vm, BASE, BASE + 1))
    seen = r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, None, None))
    assert seen.value == ("zero" if evicted else "secret")
    assert (r.inode.folios[0].pfn == frame) is not evicted


def test_what_nobody_uses_and_what_is_poisoned() -> None:
    r = rig("mainline-7.3")
    assert offline(r) == 0, "no page"
    r.call(lambda t: r.kernel.kvm_gmem_allocate(t, r.inode, 0, 1))
    assert offline(r) == 0, "allocated and clean: evicted"
    assert 0 not in r.inode.folios
    r.call(lambda t: r.kernel.kvm_gmem_allocate(t, r.inode, 0, 1))
    r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0))
    assert offline(r) == 0, "poisoned already: nothing to do"
    assert r.inode.folios[0].poisoned


@pytest.mark.parametrize(("patch", "release", "ret"), [("baseline", "6.12", EBUSY), ("inplace", None, 0)])
@pytest.mark.parametrize("all_roots", [False, True])
def test_a_page_that_was_zapped_once_is_dirty_on_6_12(
    patch: str, release: str | None, ret: int, *, all_roots: bool
) -> None:
    """handle_changed_spte marks it when the entry goes, and nothing takes the mark away."""
    r = rig(patch, release)
    vcpu = r.vm.vcpus[0]
    r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, None, "secret"))
    if all_roots:
        r.call(r.kernel.set_nx_huge_pages)
    else:
        r.call(lambda t: r.kernel.kvm_zap_gfn_range(t, r.vm, BASE, BASE + 1))
    r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, None, None))
    assert offline(r) == ret
