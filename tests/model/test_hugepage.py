"""2 MiB folios: pool, clearing, split and merge, holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.actors.errno import EAGAIN, EINVAL, ENOMEM
from gmemsim.arch.memory import STALE, ZERO, data
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.hugepage import Hugepage, HugepageMutex

from .inplace_rig import InplaceRig
from .rig import PAGE

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

HUGE = 512


class HugeRig(InplaceRig):
    """Two huge pages, private, mapped by the host."""

    def add_vm(self, *args: Any, **options: Any) -> Any:
        self.flags = frozenset({*self.flags, "HUGETLB", "HUGETLB_2M"})
        return super().add_vm(*args, **options)

    @property
    def huge(self) -> Hugepage:
        assert isinstance(self.kernel, Hugepage)
        return self.kernel

    @property
    def used(self) -> int:
        return self.huge.subpools["gmem0"].used

    def orders(self) -> dict[int, int]:
        return {order: sum(f.order == order for f in self.inode.folios.values()) for order in (0, 9)}

    def poke(self, page: int, write: bool = True) -> None:
        self.call(lambda t: self.access(t, 0, 0, page, write))

    def punch(self, start: int, end: int) -> Any:
        return self.call(lambda t: self.kernel.kvm_gmem_punch_hole(t, self.inode, start, end))


def rig(kernel: type[Hugepage] = Hugepage, kind: str = "private") -> HugeRig:
    return HugeRig(kernel, kind, pages=2 * HUGE)


@pytest.mark.parametrize(
    ("size", "flags", "ret"),
    [
        (HUGE, {"HUGETLB", "HUGETLB_2M"}, None),
        (HUGE + 1, {"HUGETLB"}, EINVAL),
        (1, {"HUGETLB"}, EINVAL),
        (HUGE, {"HUGETLB_2M"}, EINVAL),
        (HUGE * ((1 << 20) - 1), {"HUGETLB"}, ENOMEM),
        (1, set(), None),
    ],
)
def test_create(size: int, flags: set[str], ret: int | None) -> None:
    """Whole huge pages, reserved at once; the rig's own file has two of them."""
    machine = rig()
    made = machine.call(
        lambda t: machine.kernel.kvm_gmem_create(t, machine.vm, "g", size * PAGE, frozenset(flags))
    )
    assert (made if isinstance(made, int) else None) == ret


def test_a_touch_takes_one_huge_page_and_clears_all_of_it() -> None:
    """One entry in the page cache, whichever index is touched; every page is clean."""
    machine = rig()
    machine.poke(HUGE + 7)
    (folio,) = machine.inode.folios.values()
    assert (folio.index, folio.order, folio.ref, machine.used) == (HUGE, 9, HUGE, 1)
    assert machine.memory.read(folio.pfn + 7) == data("guest")
    assert {machine.memory.read(folio.pfn + page) for page in range(HUGE) if page != 7} == {ZERO}
    machine.poke(HUGE + 8)
    assert len(machine.inode.folios) == 1


def test_only_page_zero_cleared_leaves_stale_data() -> None:
    """Clearing one page while the flag speaks for the whole folio shows in what the guest can read."""

    class FirstOnly(Hugepage):
        def pages_to_clear(self, folio: Any) -> int:
            return 1

    machine = rig(FirstOnly)
    machine.poke(3, write=False)
    (folio,) = machine.inode.folios.values()
    assert machine.memory.read(folio.pfn + 3) == STALE


@pytest.mark.parametrize("kind", ["private", "snp"])
def test_split_and_merge(kind: str) -> None:
    """One shared page splits its huge range only; the range is one folio again when none is shared."""
    machine = rig(kind=kind)
    machine.poke(0)
    machine.poke(HUGE)
    assert machine.orders() == {0: 0, 9: 2}
    assert machine.to(False, 5, 6).ret == 0
    assert machine.orders() == {0: HUGE, 9: 1}
    assert machine.call(machine.host(5, data("host"))) == data("host")
    assert machine.to(False, 9, 10).ret == 0
    assert machine.to(True, 5, 6).ret == 0
    assert machine.orders() == {0: HUGE, 9: 1}
    assert machine.to(True, 9, 10).ret == 0
    assert machine.orders() == {0: 0, 9: 2}
    assert machine.used == 2
    assert not machine.huge.subpools["gmem0"].stash


def test_a_page_of_a_shared_range_is_split_right_away() -> None:
    """Allocation into a range with a shared page; no host access meets a huge folio."""
    machine = rig()
    assert machine.to(False, 5, 6).ret == 0
    assert machine.call(machine.host(5)) == ZERO
    assert machine.orders() == {0: HUGE, 9: 0}


@pytest.mark.parametrize("point", ["huge_vmemmap", "huge_stash", "huge_insert"])
def test_a_failed_split_is_undone(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two splits fails: the first range is merged again, and nothing is shared."""
    from gmemsim.engine.task import Task

    machine = rig()
    machine.poke(0)
    machine.poke(HUGE)
    asked: list[str] = []

    def fault(self: Task, name: str) -> bool:
        asked.append(name)
        return name == point and asked.count(point) == 2

    monkeypatch.setattr(Task, "fault", fault)
    done = machine.to(False)
    assert done.ret == ENOMEM
    assert machine.orders() == {0: 0, 9: 2}
    assert machine.kinds == [(0, 2 * HUGE, True)]


def test_a_folio_that_cannot_be_split_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's fault fails, and the pool has its huge page back; the next one succeeds."""
    from gmemsim.engine.task import Task

    machine = rig()
    assert machine.to(False, 5, 6).ret == 0
    with monkeypatch.context() as patched:
        patched.setattr(Task, "fault", lambda self, name: name == "huge_stash")
        assert machine.call(machine.host(5)) == "oom"
    assert not machine.inode.folios
    assert machine.used == 0
    assert machine.call(machine.host(5)) == ZERO


def test_holes() -> None:
    """A whole huge page goes back to the pool; a part of one is only zeroed."""
    machine = rig()
    machine.poke(0)
    machine.poke(1)
    machine.poke(HUGE)
    assert machine.punch(1, 2 * HUGE) == 0
    (folio,) = machine.inode.folios.values()
    assert (folio.index, machine.used) == (0, 1)
    assert machine.memory.read(folio.pfn) == data("guest")
    assert machine.memory.read(folio.pfn + 1) == ZERO


def test_a_pinned_page_stops_the_hole() -> None:
    """-EAGAIN, and the pool gets the huge page back when the last of its pages has come back."""
    machine = rig()
    assert machine.to(False, 5, 6).ret == 0
    mapping = machine.mappings[0]
    folio = machine.call(lambda t: machine.kernel.pin_user_page(t, mapping, 5))
    assert machine.punch(0, HUGE) == EAGAIN
    assert machine.used == 1

    async def unpin(t: Task) -> None:
        await machine.kernel.unpin_user_page(t, machine.inode, folio)

    machine.call(unpin)
    assert machine.punch(0, HUGE) == 0
    assert machine.used == 0
    assert not machine.inode.folios


def test_a_file_of_a_tebibyte_costs_nothing_untouched() -> None:
    """Only what is touched has folios, frames and contents."""
    machine = HugeRig(Hugepage, "private", pages=(1 << 40) // PAGE)
    machine.poke((1 << 28) - 1)
    assert len(machine.inode.folios) == 1
    assert machine.memory.in_use == HUGE


@pytest.mark.parametrize(("patch", "hangs"), [(Hugepage, True), (HugepageMutex, False)])
def test_two_who_allocate_in_one_shared_huge_page(patch: type[Hugepage], hangs: bool) -> None:
    """A look-up between insertion and split keeps the split from freezing; the mutex closes that window."""
    found = 0
    for seed in range(12):
        machine = rig(patch)
        assert machine.to(False, 5, 7).ret == 0
        engine = Engine(RandomStrategy(seed))
        engine.spawn("h5", machine.host(5))
        engine.spawn("h6", machine.host(6))
        try:
            bare.run(engine)
        except Deadlock as error:
            found += "hugetlb.freeze" in str(error)
        else:
            assert machine.orders() == {0: HUGE, 9: 0}
            assert machine.used == 1
    assert (found > 0) == hangs
