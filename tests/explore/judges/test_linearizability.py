"""Results are checked against a page's sequential model: right runs pass, wrong kernels do not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.explore.judges.linearizable import Linearizable

from gmemsim.actors.gmem_convert import Converted
from gmemsim.actors.vcpu_run import GuestResult
from gmemsim.engine.strategy import FirstRunnable, RandomStrategy
from gmemsim.explore.judges.linearize import Interval, linearizable
from gmemsim.explore.judges.modelled import MODELLED, NO_EFFECT
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.registry import PATCHES
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.ops import (
    OPS,
    Bind,
    Close,
    Create,
    CreateAp,
    Exit,
    FileWrite,
    MemoryFailure,
    PageStateChange,
    Populate,
    SoftOffline,
    Unbind,
)  # fmt: skip
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from gmemsim.actors.inode import GmemInode, HostMapping
    from gmemsim.actors.kernel import Kernel
    from gmemsim.actors.vm import Vcpu, Vm
    from gmemsim.engine.strategy import Strategy
    from gmemsim.engine.task import Task
    from gmemsim.explore.failure import Failure

# -- the search, on a register ---------------------------------------------------------------------------


def put(value: int, state: int) -> list[int]:
    return [value]


def get(value: int, state: int) -> list[int]:
    return [state] if state == value else []


def operation(name: str, began: int, ended: int, value: int) -> Interval[int]:
    return Interval(name, began, ended, partial(put if name == "put" else get, value))


@pytest.mark.parametrize(
    ("history", "fine"),
    [
        # A load that overlaps the store may see either.
        ([("put", 1, 4, 1), ("get", 2, 3, 1)], True),
        ([("put", 1, 4, 1), ("get", 2, 3, 0)], True),
        # After it, only the new value.
        ([("put", 1, 2, 1), ("get", 3, 4, 0)], False),
        # New, then old again: two loads inside one store.
        ([("put", 1, 8, 1), ("get", 2, 3, 1), ("get", 4, 5, 0)], False),
        ([("put", 1, 8, 1), ("get", 2, 3, 0), ("get", 4, 5, 1)], True),
        # Two stores at once, seen in one order by one and in the other by another.
        ([("put", 1, 9, 1), ("put", 2, 9, 2), ("get", 10, 11, 1), ("get", 12, 13, 2)], False),
        ([], True),
    ],
)
def test_register(history: list[tuple[str, int, int, int]], fine: bool) -> None:
    found = linearizable([operation(*one) for one in history], 0)
    assert (found is None) is fine
    if found is not None:
        assert found[1]


def test_search_that_was_cut_short_claims_nothing() -> None:
    history = [operation("put", 1, 99, value) for value in range(8)] + [operation("get", 100, 101, 77)]
    found = linearizable(history, 0, limit=50)
    assert found is not None
    assert not found[1]


# -- pages -------------------------------------------------------------------------------------------------

HEAD = """
[scenario]
name = "pages"
summary = "for tests of the sequential model"
question = "in which order?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x1000
"""

#: Stores, loads, holes, allocations and conversions of the same two pages by four threads.
MIX = """
[[task]]
role = "vcpu"
instances = 2
ops = [
    { op = "write", value = "{task}" },
    { op = "read" },
    { op = "prefault" },
    { op = "read", start = 0, count = 1 },
]

[[task]]
name = "host"
ops = [{ op = "punch" }, { op = "allocate", start = 1, count = 1 }, { op = "punch", start = 0, count = 1 }]

[[task]]
name = "vmm"
ops = [{ op = "convert", private = false }, { op = "convert", private = true, start = 0, count = 1 }]
"""

#: The same with conversion in place: guest and host share what is shared, conversions name the file or its frames.
IN_PLACE = """
[[map]]
id = "m"
file = "gmem0"

[[task]]
role = "vcpu"
instances = 2
ops = [
    { op = "write", value = "{task}", start = 0, count = 1 },
    { op = "read" },
    { op = "hypercall", private = false, start = 1, count = 1 },
    { op = "read", start = 1, count = 1 },
]

[[task]]
name = "host"
ops = [
    { op = "host_write", map = "m", value = "host" },
    { op = "host_read", map = "m" },
    { op = "punch", start = 1, count = 1 },
]

[[task]]
name = "vmm"
ops = [
    { op = "convert", private = false, start = 0, count = 1 },
    { op = "set_file_attributes", private = true, attempts = 4 },
]
"""

ALONE = """
[[task]]
role = "vcpu"
ops = [{ op = "write", value = "x" }, { op = "read" }]
"""

PUNCHED = """
[[task]]
role = "vcpu"
ops = [{ op = "write", value = "x" }]

[[task]]
name = "host"
ops = [{ op = "allocate" }, { op = "punch" }]
"""

CONVERTED = """
[[task]]
name = "vmm"
ops = [{ op = "convert", private = false }]
"""

VM_ATTRIBUTES = """
[[task]]
role = "vcpu"
ops = [{ op = "touch" }]

[[task]]
name = "vmm"
ops = [{ op = "set_attributes", private = false }]
"""


def first(
    text: str, patch: str | type[Kernel], strategy: Strategy | None = None, arch: str = "sw-protected"
) -> tuple[Failure | None, int]:
    """What was found in one run with all oracles, and how many pages were looked at."""
    flags = 'flags = ["MMAP"]\n' if "[[map]]" in text else ""
    vm = (
        'accept = "tolerant"\nchoices = { sept_ve_disable = false }\n'
        if arch == "tdx"
        else 'accept = "tolerant"\n'
    )
    head = HEAD.replace("pages = 2\n", f"pages = 2\n{flags}").replace('id = "vm0"\n', f'id = "vm0"\n{vm}')
    inner = ScenarioProgram(scenario=loads(head + text), patch=patch, arch=arch)
    run = Linearizable(inner).build(strategy or FirstRunnable())
    run.run()
    return run.found(), run.histories.checked


@pytest.mark.parametrize("patch", sorted(name for name, cls in PATCHES.items() if not cls.in_place))
def test_versions_as_they_are(patch: str) -> None:
    for seed in range(25):
        failure, checked = first(MIX, patch, RandomStrategy(seed))
        assert failure is None, (seed, failure)
        assert checked == 2


@pytest.mark.parametrize("arch", ["snp", "tdx"])
def test_where_hardware_keeps_private_memory_apart(arch: str) -> None:
    for seed in range(25):
        failure, checked = first(MIX, "v3", RandomStrategy(seed), arch)
        assert failure is None, (seed, failure)
        assert checked == 2


@pytest.mark.parametrize("patch", ["inplace-v8", "inplace"])
@pytest.mark.parametrize("arch", ["sw-protected", "snp", "tdx"])
def test_conversion_in_place(patch: str, arch: str) -> None:
    for seed in range(25):
        failure, checked = first(IN_PLACE, patch, RandomStrategy(seed), arch)
        assert failure is None, (seed, failure)
        assert checked == 2


@pytest.mark.parametrize("patch", ["inplace-v8", "inplace", "inplace-off"])
def test_attributes_of_the_vm_in_place(patch: str) -> None:
    # With the mode on, the call to share succeeds and changes nothing; with it off, it shares.
    failure, checked = first(VM_ATTRIBUTES, patch)
    assert failure is None
    assert checked == 2


@pytest.mark.parametrize(
    "name", ["alloc_punch", "conv1punch", "disjoint", "hole", "mmap_punch", "pin_punch", "two_vms"]
)
def test_library_as_it_is(name: str) -> None:
    program = Linearizable(ScenarioProgram(scenario=load_named(name)))
    checked = 0
    for seed in range(15):
        run = program.build(RandomStrategy(seed))
        run.run()
        assert run.found() is None, seed
        checked += run.histories.checked
    assert checked


class PunchForgets(V3):
    """PUNCH_HOLE says that it worked."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        return 0


class LosesStores(V3):
    """A guest's store does not arrive."""

    async def guest_access(
        self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
    ) -> GuestResult:
        return await super().guest_access(t, vcpu, gfn, private, None)


class LoadsOldValues(V3):
    """A guest's load gives what was there long ago."""

    async def guest_access(
        self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
    ) -> GuestResult:
        result = await super().guest_access(t, vcpu, gfn, private, write)
        return result if write is not None else GuestResult(result.kind, "data:old", faults=result.faults)


class ConvertsNothing(V3):
    """A conversion returns before it has begun."""

    async def kvm_vm_set_mem_attributes(self, t: Task, vm: Vm, start: int, end: int, private: bool) -> int:
        return 0


@pytest.mark.parametrize(
    ("kernel", "text"),
    [(PunchForgets, PUNCHED), (LosesStores, ALONE), (LoadsOldValues, ALONE), (ConvertsNothing, CONVERTED)],
)
def test_wrong_kernel_breaks_this_alone(kernel: type[Kernel], text: str) -> None:
    """The invariants have nothing to say about it."""
    assert first(text, V3)[0] is None
    failure, _ = first(text, kernel)
    assert failure is not None
    assert failure.rule == "linearizability"
    assert failure.details["index"] == 0


#: What is stored behind another value: zeros, by a store or by a touch, and bytes that have no name.
OVERWRITES = [
    '{ op = "write", value = "zero" }',
    '{ op = "touch", write = "zero" }',
    '{ op = "write", value = "" }',
    '{ op = "touch", write = "" }',
]


class LosesTheLastStore(V3):
    """The first store to a page arrives and none after it."""

    async def guest_access(
        self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
    ) -> GuestResult:
        return await super().guest_access(t, vcpu, gfn, private, write if write == "data:x" else None)


class LosesHostStores(V3):
    """The same of the host's."""

    async def host_access(self, t: Task, mapping: HostMapping, index: int, write: str | None) -> str:
        return await super().host_access(t, mapping, index, write if write == "data:x" else None)


@pytest.mark.parametrize("store", OVERWRITES)
def test_what_was_stored_last_is_seen(store: str) -> None:
    text = ALONE.replace('{ op = "read" }', f'{store}, {{ op = "read" }}')
    assert first(text, V3)[0] is None
    for kernel in (LosesTheLastStore, LoadsOldValues):
        failure, _ = first(text, kernel)
        assert failure is not None
        assert failure.rule == "linearizability"


@pytest.mark.parametrize("store", OVERWRITES)
def test_what_the_host_stored_last_is_seen(store: str) -> None:
    ops = f'{{ op = "write", value = "x" }}, {store}, {{ op = "read" }}'.replace('op = "', 'op = "host_')
    text = f'[[map]]\nid = "m"\nfile = "gmem0"\n[[task]]\nname = "host"\nops = [{ops}]\n'
    found = {}
    for kernel in (V3, LosesHostStores):
        run = Linearizable(ScenarioProgram(scenario=loads(HEAD + text), patch=kernel)).build(FirstRunnable())
        run.run()
        failure = run.found()
        assert not run.histories.skipped
        found[kernel] = failure and failure.rule
    assert found == {V3: None, LosesHostStores: "linearizability"}


class LosesStoresInPlace(Inplace):
    """A guest's store does not arrive."""

    async def guest_access(
        self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
    ) -> GuestResult:
        return await super().guest_access(t, vcpu, gfn, private, None)


class ConvertsNothingInPlace(Inplace):
    """The call returns before it has begun."""

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
    ) -> Converted:
        return Converted(0)


ONE_SHARED = """
[[task]]
name = "vmm"
ops = [{ op = "set_file_attributes", private = false, start = 1, count = 1 }]

[[task]]
role = "vcpu"
ops = [{ op = "touch", start = 0, count = 1 }]
"""


@pytest.mark.parametrize(
    ("kernel", "text", "arch"),
    [
        (LosesStoresInPlace, ALONE, "sw-protected"),
        (LosesStoresInPlace, ALONE, "snp"),
        (LosesStoresInPlace, ALONE, "tdx"),
        (ConvertsNothingInPlace, ONE_SHARED, "sw-protected"),
        (ConvertsNothingInPlace, ONE_SHARED, "snp"),
        (ConvertsNothingInPlace, ONE_SHARED, "tdx"),
    ],
)
def test_wrong_in_place(kernel: type[Kernel], text: str, arch: str) -> None:
    assert first(text, Inplace, arch=arch)[0] is None
    failure, _ = first(text, kernel, arch=arch)
    assert failure is not None
    assert failure.rule == "linearizability"


class LosesStoresToOnePage(LosesStores):
    """Only those to the second page."""

    async def guest_access(
        self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
    ) -> GuestResult:
        return await V3.guest_access(self, t, vcpu, gfn, private, None if gfn & 1 else write)


def test_each_page_is_checked_alone() -> None:
    failure, _ = first(ALONE, LosesStoresToOnePage)
    assert failure is not None
    assert failure.details["index"] == 1
    assert failure.kind == "gmem0"


def test_a_version_that_writes_when_it_converts_is_not_looked_at() -> None:
    inner = ScenarioProgram(scenario=loads(HEAD + ALONE), patch="inplace-content", arch="sw-protected")
    histories = Linearizable(inner).build(FirstRunnable()).histories
    assert histories.skipped["gmem0"] == "a conversion may write content"


def test_what_is_not_looked_at_is_named() -> None:
    inner = ScenarioProgram(scenario=loads(HEAD + '[[task]]\nname = "x"\nops = [{ op = "memory_failure" }]'))
    run = Linearizable(inner).build(FirstRunnable())
    run.run()
    assert run.found() is None
    assert run.histories.checked == 0
    assert run.histories.skipped == {"gmem0": "operations memory_failure"}


def test_an_operation_is_modelled_or_changes_nothing_or_is_left_out() -> None:
    """A new one has to be put into a table of `modelled`: until then its files are not looked at."""
    kinds = {*MODELLED, *NO_EFFECT}
    ours = {kind for kind in OPS.values() if kind.__module__.startswith("gmemsim.")}
    assert ours - kinds == {
        Bind, Unbind, Close, Create, CreateAp, Exit, FileWrite, MemoryFailure, PageStateChange, Populate, SoftOffline
    }  # fmt: skip


@pytest.mark.parametrize(
    "op",
    [
        'op = "host_write", value = "x", buffer = "b"',
        'op = "set_attributes", private = true, attributes = 0',
    ],
)
def test_what_keys_make_of_an_operation_is_not_looked_at(op: str) -> None:
    inner = ScenarioProgram(scenario=loads(f'{HEAD}[[task]]\nname = "x"\nops = [{{ {op} }}]'))
    assert "gmem0" in Linearizable(inner).build(FirstRunnable()).histories.skipped


TWICE = """
[[map]]
id = "window"
file = "gmem0"
[[map]]
id = "other"
file = "gmem0"
process = "other"
[[task]]
name = "vmm"
ops = [{ op = "host_write", value = "host" }, { op = "barrier", barrier = "x" }, { op = "punch" }]
[[task]]
name = "reader"
ops = [{ op = "barrier", barrier = "x" }, { op = "host_read", map = "other", count = 1 }]
"""


def test_a_punch_takes_a_page_away_that_came_back_meanwhile() -> None:
    """Host faults of these versions take no invalidate lock: a reader sees zeros, and the page is gone all the same."""
    inner = ScenarioProgram(scenario=loads(HEAD + TWICE), patch="v3")
    met = 0
    for seed in range(40):
        run = Linearizable(inner).build(RandomStrategy(seed))
        run.run()
        assert run.found() is None
        (read,) = run.session.results["reader"].operations[1:]
        met += read.values == ("zero",) and 0 not in run.session.machine.inodes[0].folios
    assert met


class PunchesTwice(Inplace):
    """A hole in two phases, with the invalidate lock dropped between them."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        await super().kvm_gmem_punch_hole(t, inode, start, end)
        return await super().kvm_gmem_punch_hole(t, inode, start, end)


def test_in_place_a_punch_takes_a_page_away_once() -> None:
    """Host faults take the invalidate lock there: what was stored after the page was gone stays."""
    text = TWICE.replace(
        '{ op = "host_read", map = "other", count = 1 }',
        """{ op = "host_read", map = "other", count = 1 }, { op = "host_write", map = "other", value = "x" },
        { op = "host_read", map = "other", count = 1 }""",
    )
    found = {}
    for patch in (Inplace, PunchesTwice):
        inner = ScenarioProgram(scenario=loads(HEAD + text), patch=patch)
        for seed in range(400):
            run = Linearizable(inner).build(RandomStrategy(seed))
            run.run()
            failure = run.found()
            if failure is not None:
                found[patch] = failure.rule
                break
    assert found == {PunchesTwice: "linearizability"}
