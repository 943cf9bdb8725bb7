"""Tests of a patch of your own, with the public API only. Run them with `pytest examples/test_my_patch.py`.

The patch here clears a page after it is marked uptodate only if it has not been cleared before, which is what v3 does
too: a place to start from. Break it, and see what the tests say.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from gmemsim.testing import V3, GmemMachine, cases, check, run_once


class MyPatch(V3):
    """What the patch changes, under the kernel's names."""

    name = "my-patch"

    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):
        """Clear the page once, then mark it uptodate, then prepare it."""
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        return await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)


@pytest.mark.parametrize("scenario", ["punch", "conv1", "prefault", "mmap_punch"])
def test_known_workloads(scenario):
    """Three hundred schedules of each; a failure prints calls, seed and replay token."""
    check(scenario, MyPatch, schedules=300)


@pytest.mark.parametrize("arch", ["sw-protected", "snp", "tdx"])
def test_vm_types(arch):
    """The same workload on other hardware."""
    check("punch", MyPatch, arch, schedules=100)


@pytest.mark.trio
@pytest.mark.gmemsim(schedules=50, strategy="random")
async def test_my_own_assertion(gmem_schedule):
    """Runs once per schedule, as a Trio program; look at anything afterwards."""
    session = gmem_schedule.build("punch", MyPatch, "sw-protected")
    await session.run_async()
    assert session.results["punch0"].rounds == 1
    assert session.machine.kernel.name == "my-patch"


@settings(deadline=None, max_examples=50)
@given(cases(arches=["sw-protected", "tdx"]))
def test_drawn_workloads(case):
    """Hypothesis draws workload and schedule, and shrinks both."""
    run_once(case.scenario, MyPatch, schedule=case.schedule)


class MyMachine(GmemMachine):
    """Hypothesis begins operations and lets threads take steps."""

    patch = MyPatch


TestMyMachine = MyMachine.TestCase
TestMyMachine.settings = settings(deadline=None, max_examples=20, stateful_step_count=15)
