"""What the bindings lock is for: whoever leaves it out in one place is found out, and as it is it is clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemFile
    from gmemsim.actors.kernel import Kernel
    from gmemsim.actors.memslot import Memslot
    from gmemsim.actors.vm import Vm
    from gmemsim.arch.base import Content
    from gmemsim.engine.task import Task

MENDED = load_patch("mainline-7.3+error-bindings-lock")
STOCK = load_patch("mainline-7.3")

HEAD = """
[scenario]
name = "bindings"
summary = "a memory failure beside who counts on what the hook holds"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
id = 0
file = "gmem0"
gfn = 0x10000
{slot}

[setup]
ops = [{{ op = "allocate" }}]
{setup}

[[task]]
name = "mce"
ops = [{{ op = "memory_failure" }}]

[[task]]
name = "other"
ops = [{other}]

[[task]]
role = "vcpu"
ops = [{{ op = "sleep", time = 0 }}]
"""
BIND = HEAD.format(slot="absent = true", setup="", other='{ op = "bind", slot = 0 }')
LAUNCH = HEAD.format(slot="", setup="finalize = false", other='{ op = "populate", source = "image" }')


class BindsWithout(MENDED):  # type: ignore[valid-type,misc] # made where it is loaded
    """Makes the binding without the lock."""

    async def kvm_gmem_store_binding(
        self, t: Task, file: GmemFile, slot: Memslot, start: int, end: int
    ) -> None:
        await STOCK.kvm_gmem_store_binding(self, t, file, slot, start, end)


class PopulatesWithout(MENDED):  # type: ignore[valid-type,misc] # as above
    """Has the page mapped without the lock."""

    async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
        return await STOCK.post_populate(self, t, vm, gfn, folio, content)


def found(patch: type[Kernel], text: str, arch: str) -> set[str]:
    program = ScenarioProgram(scenario=loads(text), patch=patch, arch=arch)
    result = search(program, Stateful(), Limits(schedules=None, states=6_000), keep_going=True)
    assert result.complete
    return {one.failure.rule for one in result.found}


@pytest.mark.parametrize(
    ("without", "text", "arch", "rule"),
    [
        (BindsWithout, BIND, "sw-protected", "I15"),
        pytest.param(PopulatesWithout, LAUNCH, "tdx", "poison", marks=pytest.mark.long),
    ],
)
def test_each_place_needs_it(without: type[Kernel], text: str, arch: str, rule: str) -> None:
    assert found(MENDED, text, arch) == set()
    assert rule in found(without, text, arch)
