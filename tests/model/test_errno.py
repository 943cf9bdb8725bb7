"""Error codes of every operation (guest-memfd.md 8, and the steps of 4), and the order in which they are tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.rig import BASE, PAGE, Rig, only

from gmemsim.actors.errno import (
    EAGAIN,
    EBADF,
    EBUSY,
    EEXIST,
    EFAULT,
    EFBIG,
    EHWPOISON,
    EINTR,
    EINVAL,
    EIO,
    EMFILE,
    ENODEV,
    ENOENT,
    ENOMEM,
    EOPNOTSUPP,
    errno_name,
)
from gmemsim.actors.inode import GmemFile, HostMapping
from gmemsim.actors.memslot import Memslot, UserMemory
from gmemsim.actors.release import RELEASES
from gmemsim.audit.kvm_events import (
    AttrStore,
    FilemapAdd,
    FilemapGet,
    InvEnd,
    InvStart,
    MmuInvStart,
    PageCacheDelete,
    Zap,
)
from gmemsim.patches.registry import PATCHES
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

SHARED = frozenset({"MMAP", "INIT_SHARED"})


def rig(kind: str = "private", patch: str = "v3", release: str = "") -> Rig:
    return Rig(PATCHES[patch], kind, release=RELEASES[release] if release else None)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (EEXIST, "EEXIST"),
        (EHWPOISON, "EHWPOISON"),
        (EOPNOTSUPP, "EOPNOTSUPP"),
        (-104, "ECONNRESET"),
        (-9999, "-9999"),
        (5, "5"),
        (0, "0"),
    ],
)
def test_names(number: int, name: str) -> None:
    """Those of Linux, whether a constant here has them or not: kernels that are recorded return others."""
    assert errno_name(number) == name


# -- create (guest-memfd.md 4.1) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "size", "flags", "release", "fault", "expected"),
    [
        ("shared", PAGE, SHARED, "", "", 0),
        ("private", PAGE, frozenset({"MMAP"}), "", "", 0),
        ("private", PAGE, SHARED, "", "", EINVAL),
        ("shared", PAGE, frozenset({"OTHER"}), "", "", EINVAL),
        ("private", PAGE, frozenset({"MMAP"}), "6.12", "", EINVAL),
        ("private", 0, frozenset(), "", "", EINVAL),
        ("private", -PAGE, frozenset(), "", "", EINVAL),
        ("private", PAGE + 1, frozenset(), "", "", EINVAL),
        ("private", (1 << 63) - PAGE, frozenset(), "", "", 0),
        ("private", 1 << 63, frozenset(), "", "", EINVAL),
        ("private", PAGE, frozenset(), "", "fd", EMFILE),
        ("private", PAGE, frozenset(), "", "alloc_inode", ENOMEM),
    ],
)
def test_create(kind: str, size: int, flags: frozenset[str], release: str, fault: str, expected: int) -> None:
    r = rig(kind, release=release)
    made = r.call(
        lambda t: r.kernel.kvm_gmem_create(t, r.vm, "new", size, flags), {fault: 1} if fault else None
    )
    assert made == expected if expected else isinstance(made, GmemFile)
    assert ("new" in r.world.inodes) == (expected == 0)


def test_label_of_a_file_that_still_lives() -> None:
    """A mapping keeps the first file; a second one of that name is told apart."""
    r = rig("shared")
    r.call(lambda t: r.close(t, 0))
    made = r.call(lambda t: r.kernel.kvm_gmem_create(t, r.vm, "gmem0", PAGE))
    assert (made.inode.label, sorted(r.world.inodes)) == ("gmem0'", ["gmem0", "gmem0'"])


# -- memslots and bind (guest-memfd.md 4.2, 4.3) ----------------------------------------------------------------------


def create(r: Rig, **change: Any) -> int:
    """A second slot over a file of its own, right but for `change`."""
    arguments: dict[str, Any] = {"vm": r.vm, "ident": 1, "base_gfn": BASE + 64, "pages": 2, **change}
    fault = arguments.pop("fault", "")
    if "file" not in arguments:
        arguments["file"] = r.call(lambda t: r.kernel.kvm_gmem_create(t, r.vm, "second", 3 * PAGE))
    result: int = r.call(
        lambda t: r.kernel.kvm_set_memory_region(t, **arguments), {fault: 1} if fault else None
    )
    return result


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0),
        ({"ident": 0}, EINVAL),
        ({"base_gfn": BASE + 2}, EEXIST),
        ({"base_gfn": BASE + 2, "offset": 1}, EEXIST),
        ({"base_gfn": -1}, EINVAL),
        ({"pages": -1}, EINVAL),
        ({"file": None, "gmem": True}, EBADF),
        ({"offset": 1}, EINVAL),
        ({"offset": -PAGE}, EINVAL),
        ({"offset": 2 * PAGE}, EINVAL),
        ({"pages": 4}, EINVAL),
        ({"fault": "alloc_memslot"}, ENOMEM),
    ],
)
def test_create_slot(change: dict[str, Any], expected: int) -> None:
    r = rig()
    assert create(r, **change) == expected
    assert len(r.vm.slots) == (2 if expected == 0 else 1)


def test_bind_of_foreign_and_closed_file() -> None:
    r = rig()
    other = r.add_vm("vm1", "private", 1)
    assert create(r, file=r.files[1]) == EINVAL
    r.call(lambda t: r.close(t, 1))
    assert create(r, vm=other, file=r.files[1]) == EBADF


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.12", EINVAL), ("6.18", EINVAL), ("6.19", EINVAL), ("7.2", EEXIST), ("7.3", EEXIST)],
)
def test_bind_overlap_is_row_21(release: str, expected: int) -> None:
    r = rig(release=release)
    assert create(r, file=r.files[0], offset=PAGE) == expected


def test_a_slot_without_guest_memfd_may_be_set_again() -> None:
    """The same values are no change and no error; others are outside the model, and -EINVAL."""
    r = rig()

    def again(pages: int = 1, gmem: bool = False) -> Any:
        return r.call(
            lambda t: r.kernel.kvm_set_memory_region(
                t, r.vm, 7, 0x900, pages, r.files[0] if gmem else None, 0, None, 0, gmem
            )
        )

    assert [again(), again(), again(2), again(1, True)] == [0, 0, EINVAL, EINVAL]
    assert len([slot for slot in r.vm.slots if slot.ident == 7]) == 1


@pytest.mark.parametrize(
    ("fault", "ident", "expected"), [("", 5, EINVAL), ("alloc_memslot", 0, ENOMEM), ("", 0, 0)]
)
def test_delete_slot(fault: str, ident: int, expected: int) -> None:
    r = rig()
    fault_points = {fault: 1} if fault else None
    assert r.call(lambda t: r.kernel.kvm_set_memory_region(t, r.vm, ident, 0, 0), fault_points) == expected
    assert len(r.vm.slots) == (expected != 0)
    assert len(r.files[0].bindings) == (expected != 0)


# -- fallocate (guest-memfd.md 4.5) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("punch", [False, True])
@pytest.mark.parametrize(
    ("offset", "length", "keep_size", "expected"),
    [
        (0, PAGE, True, 0),
        (0, PAGE, False, EOPNOTSUPP),
        (1, PAGE, False, EOPNOTSUPP),
        (1, PAGE, True, EINVAL),
        (0, PAGE - 1, True, EINVAL),
        (0, 0, True, EINVAL),
        (-PAGE, PAGE, True, EINVAL),
        (0, 0, False, EINVAL),
        (1 << 62, 1 << 62, True, EFBIG),
        (0, 4 * PAGE, True, "beyond"),
        (8 * PAGE, PAGE, True, "beyond"),
    ],
)
def test_fallocate(punch: bool, offset: int, length: int, keep_size: bool, expected: int | str) -> None:
    r = rig()
    wanted = (0 if punch else EINVAL) if expected == "beyond" else expected
    assert (
        r.call(lambda t: r.kernel.kvm_gmem_fallocate(t, r.files[0], offset, length, punch, keep_size))
        == wanted
    )


@pytest.mark.parametrize("start", [0, 2, 8])
@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3"])
def test_a_hole_beyond_the_end(patch: str, start: int) -> None:
    """`kvm_gmem_punch_hole` asks nobody for the size: the range is as it was given, and so is its second edge."""
    r = rig(patch=patch)
    end = 1 << 20
    r.call(lambda t: r.kernel.kvm_gmem_fallocate(t, r.files[0], 0, r.inode.pages * PAGE, False))
    there = r.inode.pages - min(start, r.inode.pages)
    ret = r.call(
        lambda t: r.kernel.kvm_gmem_fallocate(t, r.files[0], start * PAGE, (end - start) * PAGE, True)
    )
    assert ret == 0
    assert len(only(r.events, PageCacheDelete)) == there
    assert [(event.start, event.end) for event in only(r.events, InvStart, InvEnd)] == [(start, end)] * 2
    assert [event.index for event in only(r.events, FilemapGet)] == [start, end - 1]


def allocate(r: Rig, **how: Any) -> int:
    result: int = r.call(lambda t: r.kernel.kvm_gmem_fallocate(t, r.files[0], 0, 3 * PAGE, False), **how)
    return result


def test_fallocate_stops_early() -> None:
    r = rig()
    assert allocate(r, signal=True) == EINTR
    assert allocate(r, faults={"alloc_folio": 1}) == ENOMEM
    assert not r.inode.folios
    r.memory.limit = r.memory.in_use + 2
    assert allocate(r) == ENOMEM
    assert sorted(r.inode.folios) == [0, 1], "partial progress stays"
    r.call(lambda t: r.close(t, 0))
    assert allocate(r) == EBADF


# -- mmap and host access (guest-memfd.md 4.8) -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "shared", "expected"),
    [(frozenset(), True, ENODEV), (frozenset(), False, ENODEV), (SHARED, False, EINVAL), (SHARED, True, 0)],
)
def test_mmap(flags: frozenset[str], shared: bool, expected: int) -> None:
    r = rig("shared")
    file = r.call(lambda t: r.kernel.kvm_gmem_create(t, r.vm, "new", PAGE, flags))
    got = r.call(lambda t: r.kernel.kvm_gmem_mmap(t, file, r.process, "map", 0, 1, shared))
    assert got == expected if expected else isinstance(got, HostMapping)


def test_mmap_of_closed_file() -> None:
    r = rig("shared")
    file = r.call(lambda t: r.kernel.kvm_gmem_create(t, r.vm, "new", PAGE, SHARED))
    r.call(lambda t: r.kernel.fput(t, file))
    assert r.call(lambda t: r.kernel.kvm_gmem_mmap(t, file, r.process, "map", 0, 1)) == EBADF


def test_host_access_is_row_15() -> None:
    """SIGBUS beyond the end, of a file without INIT_SHARED, and of a poisoned page; a fault when memory is out."""
    r = rig("shared")
    wide = r.call(lambda t: r.kernel.kvm_gmem_mmap(t, r.files[0], r.process, "wide", 0, 9))
    plain = r.call(lambda t: r.kernel.kvm_gmem_create(t, r.vm, "plain", PAGE, frozenset({"MMAP"})))
    hidden = r.call(lambda t: r.kernel.kvm_gmem_mmap(t, plain, r.process, "hidden", 0, 1))

    def read(mapping: HostMapping, index: int) -> str:
        value: str = r.call(lambda t: r.kernel.host_access(t, mapping, index, None))
        return value

    assert read(wide, 3) == "SIGBUS"
    assert read(hidden, 0) == "SIGBUS"
    assert read(wide, 0) == "zero"
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == EBUSY
    assert read(wide, 0) == "SIGBUS"
    r.memory.limit = r.memory.in_use
    assert read(wide, 1) == "oom"
    r.call(lambda t: r.kernel.munmap(t, wide))
    assert read(wide, 1) == "SIGSEGV"


# -- vCPU faults and get_pfn (guest-memfd.md 4.6, 4.7) ----------------------------------------------------------------


def access(r: Rig, page: int = 0, private: bool | None = None, **how: Any) -> Any:
    vcpu = r.vm.vcpus[0]
    return r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE + page, private, None), **how)


def test_fault_exits() -> None:
    r = rig()
    wrong = access(r, 0, False)
    assert (wrong.kind, wrong.errno, wrong.gfn, wrong.private) == ("exit_memory_fault", EFAULT, BASE, False)
    r.vm.attributes.add(BASE + 40)
    assert (access(r, 40).kind, access(r, 40).errno) == ("exit_memory_fault", EFAULT), "private, no slot"
    assert access(r, 41).kind == "exit_mmio", "shared, no slot"
    assert access(r, faults={"mmu_topup": 1}).errno == ENOMEM
    assert access(r, faults={"alloc_folio": 1}).errno == ENOMEM


def test_private_fault_without_guest_memfd() -> None:
    r = rig()
    r.call(lambda t: r.kernel.kvm_set_memory_region(t, r.vm, 1, BASE + 8, 1, user=UserMemory("user")))
    r.vm.attributes.add(BASE + 8)
    assert access(r, 8).errno == EFAULT
    r.vm.attributes.discard(BASE + 8)
    assert access(r, 8).value == "zero"


def test_get_pfn_errors() -> None:
    r = rig()
    r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0))
    access(r)
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == EBUSY
    assert access(r).errno == EHWPOISON
    r.files[0].bindings[0] = Memslot(9, 0, 3)
    r.files[0].bindings[0].bound_end = 3
    assert access(r, 1).errno == EIO
    r.call(lambda t: r.close(t, 0))
    assert access(r, 1).errno == EFAULT


@pytest.mark.parametrize("patch", sorted(PATCHES))
def test_prepare_error_is_passed_on(patch: str) -> None:
    r = rig("assigned", patch)
    r.vm.finalized = True
    failed = access(r, faults={"prepare": 1})
    assert (failed.kind, failed.errno) == ("exit_memory_fault", EINVAL)
    assert r.inode.folios[0].uptodate == (patch != "baseline")
    assert (r.inode.folios[0].ref, r.inode.folios[0].lock.owner) == (1, None)
    assert access(r).kind == "ok"


# -- pre-fault (guest-memfd.md 4.6 a to e) -----------------------------------------------------------------------------


def prefault(
    r: Rig, gpa: int = BASE * PAGE, size: int = PAGE, flags: int = 0, **how: Any
) -> tuple[int, int, int]:
    vcpu = r.vm.vcpus[0]
    result: tuple[int, int, int] = r.call(
        lambda t: r.kernel.kvm_vcpu_pre_fault_memory(t, vcpu, gpa, size, flags), **how
    )
    return result


@pytest.mark.parametrize(
    ("gpa", "size", "flags", "expected"),
    [
        (BASE * PAGE, PAGE, 0, 0),
        (BASE * PAGE, PAGE, 1, EINVAL),
        (BASE * PAGE + 1, PAGE, 0, EINVAL),
        (BASE * PAGE, PAGE - 1, 0, EINVAL),
        (BASE * PAGE, 0, 0, EINVAL),
        (BASE * PAGE, -PAGE, 0, EINVAL),
        ((BASE + 9) * PAGE, PAGE, 0, ENOENT),
    ],
)
def test_prefault(gpa: int, size: int, flags: int, expected: int) -> None:
    left = 0 if expected == 0 else size
    assert prefault(rig(), gpa, size, flags) == (expected, gpa + size - left, left)


def test_prefault_not_allowed_yet() -> None:
    r = rig("assigned")
    assert prefault(r)[0] == EOPNOTSUPP
    assert prefault(r, flags=1)[0] == EINVAL, "arguments come first"
    r.call(lambda t: r.kernel.launch_finish(t, r.vm))
    assert prefault(r)[0] == 0


def test_prefault_is_interrupted() -> None:
    assert prefault(rig(), signal=True) == (EINTR, BASE * PAGE, PAGE)


def test_prefault_hides_errors_behind_progress() -> None:
    """Pages 0 to 2 are mapped, page 3 has no slot: 0, and the caller sees what is left."""
    assert prefault(rig(), size=5 * PAGE) == (0, (BASE + 3) * PAGE, 2 * PAGE)


@pytest.mark.parametrize(("release", "expected"), [("6.18", EAGAIN), ("7.2", EAGAIN)])
def test_prefault_of_a_slot_being_deleted(release: str, expected: int) -> None:
    r = rig(release=release)
    r.vm.slots = tuple(slot.invalid_copy() for slot in r.vm.slots)
    assert prefault(r) == (expected, BASE * PAGE, PAGE)


def test_prefault_before_it_existed_and_on_a_dead_vm() -> None:
    r = rig()
    r.vm.slots = tuple(slot.invalid_copy() for slot in r.vm.slots)
    r.kernel.release = RELEASES["6.12"]

    async def dead(t: Task) -> Any:
        r.vm.killed = True
        return await r.kernel.kvm_vcpu_pre_fault_memory(t, r.vm.vcpus[0], BASE * PAGE, PAGE)

    assert r.call(dead)[0] == EIO, "a retry on a dead VM ends"


# -- attributes (guest-memfd.md 4.13) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "address", "size", "private", "flags", "expected"),
    [
        ("private", BASE * PAGE, PAGE, False, 0, 0),
        ("private", BASE * PAGE, PAGE, False, 1, EINVAL),
        ("private", BASE * PAGE, 0, False, 0, EINVAL),
        ("private", BASE * PAGE, -PAGE, False, 0, EINVAL),
        ("private", BASE * PAGE + 1, PAGE, False, 0, EINVAL),
        ("private", BASE * PAGE, PAGE - 1, False, 0, EINVAL),
        ("shared", BASE * PAGE, PAGE, True, 0, EINVAL),
        ("shared", BASE * PAGE, PAGE, False, 0, 0),
    ],
)
def test_attributes(kind: str, address: int, size: int, private: bool, flags: int, expected: int) -> None:
    r = rig(kind)
    assert (
        r.call(lambda t: r.kernel.kvm_vm_ioctl_set_mem_attributes(t, r.vm, address, size, private, flags))
        == expected
    )


@pytest.mark.parametrize(("release", "private", "expected"), [("7.2", False, ENOMEM), ("7.3", False, 0)])
def test_attributes_out_of_memory(release: str, private: bool, expected: int) -> None:
    """Nothing is changed; since 7.3 storing 0 reserves nothing."""
    r = rig(release=release)
    before = set(r.vm.attributes)
    ret = r.call(
        lambda t: r.kernel.kvm_vm_ioctl_set_mem_attributes(t, r.vm, BASE * PAGE, PAGE, private),
        {"alloc_attributes": 1},
    )
    assert ret == expected
    assert (r.vm.attributes == before) == (expected != 0)
    assert bool(only(r.events, MmuInvStart, Zap, AttrStore)) == (expected == 0)


# -- memory failure (guest-memfd.md 4.11) ------------------------------------------------------------------------------


def test_memory_failure() -> None:
    r = rig()
    access(r)
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 2)) == 0, "nothing there"
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == EBUSY
    assert only(r.events, InvStart, Zap)
    assert (r.inode.folios[0].ref, r.inode.folios[0].poisoned) == (2, True)
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == EHWPOISON
    assert not only(r.events, InvStart, Zap)


def test_memory_failure_with_delayed_passed_through() -> None:
    class Delayed(V3):
        def action_result(self) -> int:
            return 0

    r = Rig(Delayed, "private")
    access(r)
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == 0


def test_poisoned_page_stays_out_of_use() -> None:
    r = rig()
    access(r)
    pfn = r.inode.folios[0].pfn
    r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0))
    r.call(lambda t: r.fallocate(t, 0, 0, 3, True))
    assert not r.inode.folios
    allocate(r)
    assert pfn not in {event.pfn for event in only(r.events, FilemapAdd)}


# -- launch ----------------------------------------------------------------------------------------------


def test_launch_finish() -> None:
    r = rig("assigned")
    assert r.call(lambda t: r.kernel.launch_finish(t, r.vm)) == 0
    assert r.call(lambda t: r.kernel.launch_finish(t, r.vm)) == EINVAL
    assert rig("private").vm.finalized
