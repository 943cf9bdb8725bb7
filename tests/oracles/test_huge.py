"""Oracles of huge folios: silent on the versions, and each alone in seeing the bug that is its own."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.model.test_hugepage import HUGE, GibRig, HugeRig
from tests.model.test_hugepage_variants import populate

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import Oracles
from gmemsim.oracles.violation import Violation
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.hugepage_mutex import HugepageMutex
from gmemsim.patches.hugepage_variants import HugepagePopulate, HugepageStaged, HugepageTracked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemInode
    from gmemsim.engine.task import Task

    Operation = Callable[[Task], Any]


#: Everything of huge folios that can fail.
FAULTS = {"huge_insert": 1, "huge_merge": 2, "huge_stash": 1, "alloc_folio": 1, "alloc_attributes": 1}


def look(
    oracles: Oracles,
    *bodies: Sequence[Operation],
    seed: int = 0,
    faults: dict[str, int] | None = None,
) -> None:
    """Run the bodies side by side under the oracles."""
    engine = Engine(RandomStrategy(seed), rec=oracles, faults=faults)

    async def run(t: Task, operations: Sequence[Operation]) -> None:
        for operation in operations:
            oracles.begin(t)
            await operation(t)
            oracles.end(t)

    for number, body in enumerate(bodies):
        engine.spawn(f"t{number}", run, body)
    bare.run(engine)
    oracles.finish()


def operations(machine: HugeRig, rng: random.Random, count: int) -> list[Operation]:
    """Random guest and host accesses, conversions and holes on a few pages of two huge pages."""
    size = 1 << machine.order
    pages = [0, 1, size - 1, size, size + 5]
    kernel, inode = machine.kernel, machine.inode
    found: list[Operation] = []
    for _ in range(count):
        page = rng.choice(pages)
        base = page // size * size
        end = min(page + rng.choice([1, 2, size]), machine.pages)
        what = rng.choice(["guest", "guest", "host", "shared", "private", "hole", "allocate"])
        if what == "guest":
            found.append(machine.op("access", 0, rng.randrange(2), page, True))
        elif what == "host":
            found.append(machine.host(page, "data:host"))
        elif what == "hole":
            found.append(partial(kernel.kvm_gmem_punch_hole, inode=inode, start=base, end=base + size))
        elif what == "allocate":
            found.append(partial(kernel.kvm_gmem_allocate, inode=inode, start=page, end=page + 1))
        else:
            found.append(machine.set_attributes(page, end, what == "private"))
    return found


@pytest.mark.parametrize("faults", [None, FAULTS])
@pytest.mark.parametrize(
    ("patch", "rig", "kind"),
    [
        (HugepageMutex, HugeRig, "private"),
        (HugepageMutex, HugeRig, "snp"),
        (HugepageStaged, GibRig, "private"),
        (Hugepage, GibRig, "private"),
    ],
)
def test_silent_on_the_versions(
    patch: type[Hugepage], rig: type[HugeRig], kind: str, faults: dict[str, int] | None
) -> None:
    """Random calls of three tasks. A look-up before the split, and a hang, are what the version without a mutex has."""
    ended = 0
    for seed in range(12):
        rng = random.Random(seed)
        machine = rig(patch, kind, pages=2 << rig.order)
        oracles = Oracles(machine.world, machine.kernel)
        bodies = [operations(machine, rng, 4) for _ in range(3)]
        try:
            look(oracles, *bodies, seed=seed, faults=None if faults is None else dict(faults))
        except Violation as error:
            if error.rule != "I41" or issubclass(patch, HugepageMutex):
                raise
        except Deadlock as error:
            if "hugetlb.freeze" not in str(error) or issubclass(patch, HugepageMutex):
                raise
        else:
            ended += 1
            assert not oracles.violations
    assert ended > 5


# -- bugs ------------------------------------------------------------------------------------------------


class NeverSplits(Hugepage):
    """A folio stays large when a page of it becomes shared."""

    async def split_range(self, *args: Any, **options: Any) -> int:
        return 0


class MergesUnderTheSharedLock(Hugepage):
    """A conversion leaves the merge to the next fallocate, which has the lock shared."""

    async def merge_range(self, t: Task, *args: Any, **options: Any) -> int:
        return 0

    async def kvm_gmem_allocate(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        await inode.invalidate_lock.down_read(t)
        await super().merge_range(t, inode, start)
        await inode.invalidate_lock.up_read(t)
        return 0


class ForgetsUptodate(Hugepage):
    """get_pfn hands out what it cleared and did not mark."""

    async def kvm_gmem_mark_uptodate(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        pass


class DoesNotFreeze(Hugepage):
    """Structure is changed whatever the references."""

    async def folio_ref_freeze(self, *args: Any) -> None:
        pass


class ForgetsTheStash(Hugepage):
    """A merge leaves the stash entry behind."""

    def stash_merged(self, folio: Folio) -> None:
        pass


class Oversubscribes(HugepageMutex):
    """The subpool is not asked."""

    async def filemap_create_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
        pool = self.subpools[inode.label]
        pool.used -= 8
        found = await super().filemap_create_folio(t, inode, index)
        pool.used += 8
        return found


class ClearsTheFirst(Hugepage):
    """One page is cleared, the flag speaks for all."""

    def pages_to_clear(self, folio: Folio) -> int:
        return 1


class MergesEarly(Hugepage):
    """A conversion to private merges though another page is shared."""

    async def kvm_gmem_restructure(self, t: Task, inode: GmemInode, *rest: Any, **options: Any) -> int:
        ret = await super().kvm_gmem_restructure(t, inode, *rest, **options)
        if rest[2]:
            await self.merge_range(t, inode, rest[1].start, private=False)
            await self.split_range(t, inode, rest[1].start)
        return ret


def judged(patch: type[Hugepage], *calls: Callable[[HugeRig], Operation], kind: str = "private") -> set[str]:
    """Rules broken by calls one after the other."""
    machine = HugeRig(patch, kind, pages=2 * HUGE)
    oracles = Oracles(machine.world, machine.kernel, collect=True)
    look(oracles, [call(machine) for call in calls])
    return {violation.rule for violation in oracles.violations}


def guest(page: int, write: bool = True) -> Callable[[HugeRig], Operation]:
    return lambda machine: lambda t: machine.access(t, 0, 0, page, write)


def to(private: bool, start: int, end: int) -> Callable[[HugeRig], Operation]:
    return lambda machine: machine.set_attributes(start, end, private)


def pin(page: int) -> Callable[[HugeRig], Operation]:
    return lambda machine: lambda t: machine.kernel.pin_user_page(t, machine.mappings[0], page)


def hold(page: int) -> Callable[[HugeRig], Operation]:
    """Somebody takes a reference that is no pin."""

    def bind(machine: HugeRig) -> Operation:
        async def call(t: Task) -> None:
            machine.inode.folios[page].ref += 1

        return call

    return bind


def allocate(page: int) -> Callable[[HugeRig], Operation]:
    return lambda machine: lambda t: machine.kernel.kvm_gmem_allocate(t, machine.inode, page, page + 1)


def punch(start: int, end: int) -> Callable[[HugeRig], Operation]:
    return lambda machine: lambda t: machine.kernel.kvm_gmem_punch_hole(t, machine.inode, start, end)


@pytest.mark.parametrize(
    ("rule", "patch", "calls"),
    [
        ("I4", ForgetsUptodate, [guest(0)]),
        ("I4", ForgetsUptodate, [guest(7)]),
        ("I41", NeverSplits, [guest(0), to(False, 5, 6)]),
        ("I42", MergesUnderTheSharedLock, [guest(0), to(False, 5, 6), to(True, 5, 6), allocate(0)]),
        ("I43", DoesNotFreeze, [guest(0), hold(0), to(False, 5, 6)]),
        ("I44", ForgetsTheStash, [guest(0), to(False, 5, 6), to(True, 5, 6)]),
        ("I45", Oversubscribes, [to(False, 5, 6), pin(5), punch(0, HUGE), guest(0), guest(HUGE)]),
        ("I47", ClearsTheFirst, [guest(0), to(False, 5, 6)]),
        ("I48", MergesEarly, [guest(0), to(False, 5, 8), to(True, 5, 6)]),
    ],
)
def test_each_sees_its_bug(
    rule: str, patch: type[Hugepage], calls: list[Callable[[HugeRig], Operation]]
) -> None:
    """And no other rule is broken; the same calls on the version break none."""
    assert judged(patch, *calls) == {rule}
    if rule != "I43":
        assert judged(Hugepage, *calls) == set()


class DropsTheLock(HugepageMutex):
    """get_pfn unlocks a huge folio before it asks the arch, and keeps no reference."""

    async def kvm_gmem_make_private(
        self, t: Task, vm: Any, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        await self.folio_unlock(t, folio)
        ret = await super().kvm_gmem_make_private(t, vm, inode, folio, gfn, index)
        await folio.lock.lock(t)
        return ret


def test_a_page_inside_a_huge_folio_is_followed() -> None:
    """The hook is asked about page 5; the folio lock that it needs is that of the folio around it."""
    assert judged(DropsTheLock, guest(5), kind="snp") == {"I33"}
    assert judged(HugepageMutex, guest(5), kind="snp") == set()


class PreparesNothing(HugepageTracked):
    """The arch is not asked before the page is marked, which says there that it was prepared."""

    async def kvm_gmem_make_private(
        self, t: Task, vm: Any, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        return 0


def test_a_shared_page_has_nothing_to_be_prepared() -> None:
    """uptodate means prepared there, of a page that is private: asked about another one the arch does nothing."""
    shared = [guest(0), to(False, 5, 6), punch(0, HUGE), guest(5)]
    assert judged(HugepageTracked, *shared, kind="snp") == set()
    machine = HugeRig(PreparesNothing, "snp", pages=2 * HUGE)
    oracles = Oracles(machine.world, machine.kernel)
    machine.recorders.append(oracles)
    with pytest.raises(Violation, match=r"I4.*becomes uptodate unprepared"):
        look(oracles, [guest(5)(machine)])


def test_a_populated_page_does_not_speak_for_its_folio() -> None:
    """The series' populate: the callback outside the invalidate lock, and a flag that is not true of all pages."""
    machine = HugeRig(HugepagePopulate, "snp", pages=2 * HUGE, finalized=False)
    oracles = Oracles(machine.world, machine.kernel, collect=True)
    machine.recorders.append(oracles)
    assert populate(machine, 3, 1) == 1
    assert {violation.rule for violation in oracles.violations} == {"I36", "I47"}
