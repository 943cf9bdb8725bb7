"""MMU notifiers against memslot updates: a slot array does not change between a start and its end."""

from __future__ import annotations

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.inplace import Inplace
from gmemsim.scenarios.scenario import loads

#: The slot's userspace address shows the file (MMAP), so that a hole in what the host mapped tells the notifier.
TEXT = """
[scenario]
name = "notifier"
summary = "A slot is deleted while the host's page-table entries of its memory go"
question = "Does every start of an invalidation have its end?"
vm_types = ["sw-protected"]

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 1
flags = ["MMAP", "INIT_SHARED"]

[[slot]]
id = 0
file = "gmem0"
gfn = 0x100

[[map]]
id = "m"
file = "gmem0"

[[task]]
name = "host"
ops = [{ op = "host_write", map = "m", value = "h" }, { op = "punch" }]

[[task]]
name = "vmm"
ops = [{ op = "unbind", slot = 0 }, { op = "bind", slot = 0 }]
"""


class DoesNotWait(Inplace):
    """A slot array is published whatever the notifiers are about."""

    async def swap_active_memslots(self, t, vm, slots, slot, state):  # type: ignore[no-untyped-def] # as the parent's
        """Look away for a moment."""
        hidden, vm.mn_active = vm.mn_active, []
        await super().swap_active_memslots(t, vm, slots, slot, state)
        vm.mn_active = [*hidden, *vm.mn_active]


def rules(patch: type[Inplace]) -> set[str]:
    program = ScenarioProgram(scenario=loads(TEXT), patch=patch, arch="sw-protected")
    result = search(program, make_strategy("pos", 0), Limits(schedules=150))
    return {found.failure.rule for found in result.found}


def test_every_start_has_its_end() -> None:
    assert not rules(Inplace)


def test_a_swap_that_does_not_wait_is_found() -> None:
    assert rules(DoesNotWait)
