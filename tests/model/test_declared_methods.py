"""Methods that announce themselves: each with the range that it says it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.test_observed import footprints

import gmemsim.explore.program  # noqa: F401 # with every module of the model
from gmemsim.actors.attribute_map import AttributeMap
from gmemsim.actors.folio import Folio
from gmemsim.actors.huge_cache import Gap, HugeCache
from gmemsim.actors.inode import GmemFile, GmemInode
from gmemsim.actors.memslot import Memslot
from gmemsim.actors.vm import Vm
from gmemsim.arch.base import Arch
from gmemsim.arch.choices import SnpChoices, TdxChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.huge_contents import HUGE_AREA
from gmemsim.arch.intervals import Intervals
from gmemsim.arch.memory import ZERO, PhysicalMemory
from gmemsim.arch.rmp import HYPERVISOR, Rmp, RmpEntry
from gmemsim.arch.tdx_epoch import Epochs, TdVcpu
from gmemsim.arch.tdx_frames import TdxFrames
from gmemsim.arch.tdx_state import Pamt
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.observed import declared_methods
from gmemsim.engine.op import ALL, Op


def r(obj: str, low: int = 0, high: int = ALL) -> Op:
    return Op("load", obj, low, high, "r")


def w(obj: str, low: int = 0, high: int = ALL) -> Op:
    return Op("rmw", obj, low, high)


def file() -> GmemFile:
    found = GmemFile("f", GmemInode("gmem0", 8, frozenset()), Vm("vm0", 0, Arch(PhysicalMemory())))
    found.store(slot(), 2, 4)
    return found


def slot() -> Memslot:
    made = Memslot(0, 0x100, 2)
    made.bound_start, made.bound_end = 2, 4
    return made


def cache() -> HugeCache:
    inode = GmemInode("gmem0", 1024, frozenset())
    made = HugeCache(inode, 9)
    made[0] = Folio(inode, 0, HUGE_AREA, 9)
    return made


def split() -> HugeCache:
    made = cache()
    made.split(made[0], 0)
    return made


def drop(of: HugeCache) -> None:
    of.drop(Gap(3, 5, of.splits[0, 9]))


def store(of: HugeCache, index: int, order: int) -> None:
    of[index] = Folio(GmemInode("gmem0", 1024, frozenset()), index, HUGE_AREA + index, order)


def take(of: HugeCache, index: int) -> None:
    del of[index]


def memory() -> PhysicalMemory:
    made = PhysicalMemory()
    made.allocate()
    made.allocate_huge(9)
    return made


def rmp() -> Rmp:
    return Rmp(SnpChoices(), CostTable.zero())


def freed() -> PhysicalMemory:
    made = PhysicalMemory()
    made.allocate()
    made.free(0x1000)
    return made


def frames() -> TdxFrames:
    return TdxFrames(PhysicalMemory(), TdxChoices(), CostTable.zero())


def pieces() -> Intervals[bool]:
    return Intervals(0, 100, False, "map")


GFN, PFN, HEAD = 0x205, 0x1005, 0x1000
FOLIO = ("gmem0", 0, 512)
FREE = w("free_list")

CASES: list[tuple[type, str, Callable[[], Any], Callable[[Any], Any], list[Op]]] = [
    (QueuedRwLock, "contended", lambda: QueuedRwLock("lock"), lambda x: x.contended(), [r("lock")]),
    (GmemFile, "slot_at", file, lambda x: x.slot_at(3), [r("f.bindings", 3, 4)]),
    (GmemFile, "slots_in", file, lambda x: x.slots_in(1, 6), [r("f.bindings", 1, 6)]),
    (GmemFile, "store", file, lambda x: x.store(slot(), 5, 7), [w("f.bindings", 5, 7)]),
    (GmemFile, "erase", file, lambda x: x.erase(slot()), [w("f.bindings", 2, 4)]),
    (Intervals, "at", pieces, lambda x: x.at(7), [r("map", 7, 8)]),
    (Intervals, "ranges", pieces, lambda x: x.ranges(7, 9), [r("map", 7, 9)]),
    (Intervals, "uniform", pieces, lambda x: x.uniform(7, 9, True), [r("map", 7, 9)]),
    (Intervals, "store", pieces, lambda x: x.store(7, 9, True), [w("map", 7, 9)]),
    (AttributeMap, "get", lambda: AttributeMap(9, True, "kinds"), lambda x: x.get(7), [r("kinds", 7, 8)]),
    (PhysicalMemory, "allocate", memory, lambda x: x.allocate(), [FREE]),
    (PhysicalMemory, "free", memory, lambda x: x.free(HEAD), [FREE, w("frame", HEAD, HEAD + 1)]),
    (PhysicalMemory, "take_off", freed, lambda x: x.take_off(0x1000), [FREE]),
    (PhysicalMemory, "allocate_huge", memory, lambda x: x.allocate_huge(9), [FREE]),
    (
        PhysicalMemory, "free_huge", memory, lambda x: x.free_huge(HUGE_AREA, 9),
        [FREE, w("frame", HUGE_AREA, HUGE_AREA + 512)],
    ),
    (PhysicalMemory, "read", memory, lambda x: x.read(PFN, 3), [r("frame", PFN, PFN + 1)]),
    (PhysicalMemory, "content", memory, lambda x: x.content(PFN), [r("frame", PFN, PFN + 1)]),
    (PhysicalMemory, "write", memory, lambda x: x.write(PFN, ZERO, key=3), [w("frame", PFN, PFN + 1)]),
    (PhysicalMemory, "fill", memory, lambda x: x.fill(PFN, 4, ZERO), [w("frame", PFN, PFN + 4)]),
    (PhysicalMemory, "stale", memory, lambda x: x.stale(PFN, 4), [r("frame", PFN, PFN + 4)]),
    (HugeCache, "get", cache, lambda x: x.get(7), [r("gmem0", 7, 8)]),
    (HugeCache, "__getitem__", cache, lambda x: x[0], [r("gmem0", 0, 1)]),
    (HugeCache, "__contains__", cache, lambda x: 7 in x, [r("gmem0", 7, 8)]),
    (HugeCache, "__iter__", cache, lambda x: sum(1 for _ in x), [r("gmem0")]),
    (HugeCache, "__len__", cache, len, [r("gmem0")]),
    (HugeCache, "keys", cache, lambda x: x.keys(), [r("gmem0")]),
    (HugeCache, "items", cache, lambda x: x.items(), [r("gmem0")]),
    (HugeCache, "values", cache, lambda x: x.values(), [r("gmem0")]),
    (HugeCache, "__bool__", cache, bool, [r("gmem0")]),
    (HugeCache, "__setitem__", cache, lambda x: store(x, 512, 9), [w("gmem0", 512, 1024)]),
    (HugeCache, "__delitem__", cache, lambda x: take(x, 0), [w(*FOLIO)]),
    (HugeCache, "split", cache, lambda x: x.split(dict.__getitem__(x, 0), 0), [w(*FOLIO)]),
    (
        HugeCache, "merge", split,
        lambda x: x.merge(x.splits[0, 9], Folio(GmemInode("gmem0", 1024, frozenset()), 0, HUGE_AREA, 9)),
        [w(*FOLIO)],
    ),
    (HugeCache, "drop", split, drop, [w("gmem0", 3, 5)]),
    (HugeCache, "next_piece", cache, lambda x: x.next_piece(5, 900), [r("gmem0", 5, 900)]),
    (HugeCache, "pieces", cache, lambda x: x.pieces(5, 900), [r("gmem0", 5, 900)]),
    (HugeCache, "orders", cache, lambda x: x.orders(), [r("gmem0")]),
    (Rmp, "entry", rmp, lambda x: x.entry(PFN), [r("frame", PFN, PFN + 1)]),
    (Rmp, "whole", rmp, lambda x: x.whole(8), [r("frame", HEAD, HEAD + 512)]),
    (Rmp, "overlap", rmp, lambda x: x.overlap(PFN, 1), [r("frame", HEAD, HEAD + 1)]),
    (Rmp, "overlap", rmp, lambda x: x.overlap(HEAD, 2), [r("frame", HEAD, HEAD + 512)]),
    (Rmp, "write", rmp, lambda x: x.write(PFN, RmpEntry(True, 1, 5)), [w("frame", PFN, PFN + 1)]),
    (Rmp, "write_region", rmp, lambda x: x.write_region(HEAD, HYPERVISOR), [w("frame", HEAD, HEAD + 512)]),
    (Epochs, "entered", lambda: Epochs("td"), lambda x: x.entered(TdVcpu("td.epoch", "a")), [r("td.epoch")]),
    (TdxFrames, "owner", frames, lambda x: x.owner(PFN), [r("frame", PFN, PFN + 1), r("frame.2m", 8, 9)]),
    (TdxFrames, "_own", frames, lambda x: x._own(PFN, Pamt(0, GFN), 1), [w("frame", PFN, PFN + 1)]),
    (
        TdxFrames, "_own", frames, lambda x: x._own(HEAD, Pamt(0, 512, 2), 2),
        [w("frame", HEAD, HEAD + 512), w("frame.2m", 8, 9)],
    ),
    (
        TdxFrames, "_taken", frames, lambda x: x._taken(HEAD, 2),
        [r("frame", HEAD, HEAD + 512), r("frame.2m", 8, 9)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "call", "expected"),
    [case[2:] for case in CASES],
    ids=[f"{case[0].__name__}.{case[1]}" for case in CASES],
)
def test_a_method_announces_its_range(
    make: Callable[[], Any], call: Callable[[Any], Any], expected: list[Op]
) -> None:
    state = make()
    ops = [
        op for op in footprints(lambda t: call(state)) if not op.obj.endswith(("_mapping", ".ref", ".dirty"))
    ]
    kept = [op for op in dict.fromkeys(ops) if "uptodate" not in op.obj]
    # `drop` and `merge` are given what is looked up in the same step.
    assert [op for op in kept if op in expected] == expected
    assert {op.obj for op in kept} == {op.obj for op in expected}


def test_every_declared_method_is_here() -> None:
    ours = {(cls, name) for cls, name in declared_methods if cls.__module__.startswith("gmemsim.")}
    assert ours == {(cls, name) for cls, name, *_ in CASES}
