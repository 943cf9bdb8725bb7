"""The steps of hardware and module calls: what each announces, and what it touches beside that (indented).

A step that is missing here is an interleaving that no search tries; an access, one that a reduced search leaves out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from tests.arch.conftest import FakeVm
from tests.engine.steps import steps

from gmemsim.arch.choices import SnpChoices, TdxChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.rmp import Rmp, RmpEntry
from gmemsim.arch.sept import LARGE
from gmemsim.arch.tdx import Tdx
from gmemsim.arch.tdx_module import TdxModule
from gmemsim.arch.tdx_state import Td, TdxStatus
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.strategy import FirstRunnable

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

GFN = 0x805
PFN = 0x1005
#: Place of the entry of level 2 above `GFN`.
TABLE = f"{LARGE + 4:#x}, {LARGE + 5:#x}"
PRIVATE = RmpEntry(True, 3, GFN)


RMP: list[tuple[str, tuple[Any, ...], list[str]]] = [
    ("lookup", (PFN,), ["load frame[0x1005, 0x1006) r", "load frame[0x1000, 0x1001) r"]),
    (
        "rmpupdate",
        (PFN, PRIVATE),
        [
            "try rmp.region[0x8, 0x9) w",
            "  load frame[0x1000, 0x1001) r",
            "rmw frame[0x1005, 0x1006) w",
            "release rmp.region[0x8, 0x9) w",
        ],
    ),
    (
        "pvalidate",
        (PFN, True, 3, GFN, 1),
        ["  load frame[0x1005, 0x1006) r", "  load frame[0x1000, 0x1001) r"],
    ),
    (
        "psmash",
        (0x1000,),
        ["try rmp.region[0x8, 0x9) w", "rmw frame[0x1000, 0x1200) w", "release rmp.region[0x8, 0x9) w"],
    ),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), RMP, ids=[name for name, _, _ in RMP])
def test_rmp(name: str, arguments: tuple[Any, ...], expected: list[str]) -> None:
    rmp = Rmp(SnpChoices(), CostTable.zero())
    assert steps(lambda t: getattr(rmp, name)(t, *arguments)) == expected


#: One after another on one TD, so that each finds what it needs.
TDX: list[tuple[str, tuple[Any, ...], list[str]]] = [
    (
        "sept_add",
        (GFN,),
        [
            "try vm0.sept_tree r",
            f"try vm0.sept[{TABLE}) w",
            f"rmw vm0.sept[{TABLE}) w",
            "release vm0.sept_tree r",
            "  load vm0.sept_tree.retry r",
        ],
    ),
    (
        "page_aug",
        (GFN, PFN),
        [
            "  load vm0.runnable r",
            "try vm0.sept_tree r",
            "try vm0.sept[0x805, 0x806) w",
            "rmw frame[0x1005, 0x1006) w",
            f"  load vm0.sept[{TABLE}) r",
            "  load vm0.sept[0x805, 0x806) r",
            "  load frame.2m[0x8, 0x9) r",
            "rmw vm0.sept[0x805, 0x806) w",
            "release vm0.sept_tree r",
            "  load vm0.sept_tree.retry r",
        ],
    ),
    (
        "page_accept",
        (GFN,),
        [
            "load vm0.sept[0x805, 0x806) r",
            f"  load vm0.sept[{TABLE}) r",
            "try vm0.sept[0x805, 0x806) w",
            "rmw frame[0x1005, 0x1006) w",
            # How far the accept is.
            "  rmw vm0.sept[0x805, 0x806) w",
            "rmw vm0.sept[0x805, 0x806) w",
            "  rmw vm0.accepted[0x805, 0x806) w",
        ],
    ),
    (
        "range_block",
        (GFN,),
        [
            "try vm0.sept_tree w",
            "try vm0.sept[0x805, 0x806) w",
            "rmw vm0.sept[0x805, 0x806) w",
            "  load vm0.epoch r",
            "release vm0.sept_tree w",
            "  load vm0.sept_tree.retry r",
        ],
    ),
    (
        "page_remove",
        (GFN,),
        [
            "  load vm0.runnable r",
            "try vm0.sept_tree r",
            "try vm0.sept[0x805, 0x806) w",
            "load vm0.epoch r",
            "  load vm0.sept[0x805, 0x806) r",
            "rmw vm0.sept[0x805, 0x806) w",
            "release vm0.sept_tree r",
            "  load vm0.sept_tree.retry r",
        ],
    ),
]


def test_tdx_module() -> None:
    module = TdxModule(PhysicalMemory(), TdxChoices(), CostTable.zero())
    td = Td(0, "vm0", module.choices)
    td.runnable = True
    found = {
        name: steps(
            partial(getattr(module, name), td=td, **dict(zip(("gfn", "pfn"), arguments, strict=False)))
        )
        for name, arguments, _ in TDX
    }
    assert found == {name: expected for name, _, expected in TDX}


def test_what_the_module_is_asked_is_told() -> None:
    """The hardware events of the same calls: name, frame (-1: none), status."""
    told: list[tuple[str, int, int]] = []
    module = TdxModule(PhysicalMemory(), TdxChoices(), CostTable.zero())
    td = Td(0, "vm0", module.choices)
    td.runnable = True

    async def body(t: Task) -> None:
        for name, arguments, _ in TDX:
            await getattr(module, name)(t, td, *arguments)

    engine = Engine(FirstRunnable(), rec=lambda t, event: told.append((event.op, event.pfn, event.code)))
    engine.spawn("a", body)
    bare.run(engine)
    assert told == [
        ("TDH.MEM.SEPT.ADD", -1, 0),
        ("TDH.MEM.PAGE.AUG", PFN, 0),
        ("TDG.MEM.PAGE.ACCEPT", PFN, 0),
        ("TDH.MEM.RANGE.BLOCK", -1, 0),
        ("TDH.MEM.PAGE.REMOVE", -1, TdxStatus.TRACKING_NOT_DONE),
    ]


VM = FakeVm("vm0", 0)


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        (
            "max_mapping_level",
            (GFN, PFN, True, False),
            [
                "  load vm0.runnable r",
                f"  load vm0.sept[{TABLE}) r",
                "  load vm0.inhibited[0x800, 0x801) r",
            ],
        ),
        (
            "accept",
            (GFN, 1),
            [
                "rmw vm0.sept[0x805, 0x806) w",
                "  rmw vm0.accepted[0x805, 0x806) w",
                "  rmw vm0.epoch.a w",
                "  load vm0.kick r",
            ],
        ),
        (
            "remove_sptes",
            ([(GFN, PFN)],),
            ["rmw vm0.epoch w", "  load vm0.epoch.vcpus r", "  load vm0.epoch.a r", "  load vm0.runnable r"],
        ),
    ],
)
def test_tdx(name: str, arguments: tuple[Any, ...], part: list[str]) -> None:
    """KVM's side: the steps in which it looks at, or changes, what other vCPUs and the module's calls go by."""
    tdx = Tdx(PhysicalMemory(), CostTable.zero(), attrs.evolve(TdxChoices(), level_rule="inhibit"))
    tdx.td(VM).runnable = True
    if name != "max_mapping_level":
        steps(lambda t: tdx.set_spte(t, VM, GFN, PFN, True))
    if name == "remove_sptes":
        steps(lambda t: tdx.accept(t, VM, GFN, 1))
    found = steps(lambda t: getattr(tdx, name)(t, VM, *arguments))
    assert any(found[at : at + len(part)] == part for at in range(len(found))), found
