"""Accesses as the RMP judges them: content, and each flag of arch.md 1.6 alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.arch.base import GuestAccess
from gmemsim.arch.memory import CIPHER, STALE, ZERO, PhysicalMemory
from gmemsim.arch.snp import Snp

if TYPE_CHECKING:
    from tests.arch.conftest import FakeVm, Runner

    from gmemsim.engine.task import Task

PFN = 0x1005
GFN = 0x805


class Machine:
    """An SNP actor with one-line accesses; flags of results and of the actor end up in `flags`."""

    def __init__(self, run: Runner, vm: FakeVm) -> None:
        self.run = run
        self.vm = vm
        self.snp = Snp(PhysicalMemory())
        self.returned: list[str] = []

    @property
    def flags(self) -> list[str]:
        return self.returned + [name for name, _ in self.snp.flags]

    def prepare(self, vm: FakeVm | None = None) -> None:
        async def body(t: Task) -> None:
            await self.snp.prepare(t, vm or self.vm, GFN, PFN, 0)

        self.run.one(body)

    def private(self) -> None:
        """Prepared and validated."""
        self.prepare()
        assert self.pvalidate() == GuestAccess("ok", "validated")

    def guest(self, write: str | None = None, private: bool = True, gfn: int = GFN) -> GuestAccess:
        async def body(t: Task) -> GuestAccess:
            return await self.snp.guest_access(t, self.vm, gfn, PFN, private, write)

        result: GuestAccess = self.run.one(body)
        if result.flag:
            self.returned.append(result.flag)
        return result

    def pvalidate(self, on: bool = True, gfn: int = GFN) -> GuestAccess:
        async def body(t: Task) -> GuestAccess:
            return await self.snp.pvalidate(t, self.vm, gfn, PFN, on)

        result: GuestAccess = self.run.one(body)
        if result.flag:
            self.returned.append(result.flag)
        return result

    def host(self, write: str | None = None) -> str:
        async def body(t: Task) -> str:
            if write is None:
                return self.snp.host_read(t, PFN)
            self.snp.host_write(t, PFN, write)
            return write

        value: str = self.run.one(body)
        return value

    def free(self) -> str | None:
        async def body(t: Task) -> str | None:
            return self.snp.page_freed(t, PFN)

        flag: str | None = self.run.one(body)
        return flag


@pytest.fixture
def machine(run: Runner, vm: FakeVm) -> Machine:
    return Machine(run, vm)


# -- legal accesses: no flag -----------------------------------------------------------------------


def test_a_validated_page_is_the_guests(machine: Machine) -> None:
    machine.private()
    assert machine.guest("data:secret") == GuestAccess("ok", "data:secret")
    assert machine.guest() == GuestAccess("ok", "data:secret")
    assert machine.flags == []


def test_what_the_host_wrote_before_prepare_is_noise_to_the_guest(machine: Machine) -> None:
    machine.host(ZERO)
    machine.private()
    assert machine.guest() == GuestAccess("ok", CIPHER)
    assert machine.flags == []


def test_stale_host_data_is_noise_to_the_guest_too(machine: Machine) -> None:
    assert machine.host() == STALE
    machine.private()
    assert machine.guest() == GuestAccess("ok", CIPHER)


def test_after_make_shared_the_host_reads_ciphertext_legally(machine: Machine) -> None:
    machine.private()
    machine.guest("data:secret")

    async def body(t: Task) -> None:
        await machine.snp.make_shared(t, PFN, 1)

    machine.run.one(body)
    assert machine.host() == CIPHER
    machine.host("data:shared")
    assert machine.guest(private=False) == GuestAccess("ok", "data:shared")
    assert machine.free() is None
    assert machine.flags == []


def test_private_access_to_a_host_frame_faults(machine: Machine) -> None:
    assert machine.guest() == GuestAccess("npf")
    assert machine.pvalidate() == GuestAccess("npf")
    assert machine.flags == []


def test_private_access_before_pvalidate_is_vc(machine: Machine) -> None:
    machine.prepare()
    assert machine.guest() == GuestAccess("exception", "#VC")
    assert machine.guest("data:x") == GuestAccess("exception", "#VC")
    assert machine.flags == []


def test_shared_access_goes_to_plain_memory(machine: Machine) -> None:
    machine.guest("data:x", private=False)
    assert machine.host() == "data:x"
    assert machine.flags == []


def test_rescind_then_access_is_vc(machine: Machine) -> None:
    machine.private()
    assert machine.pvalidate(on=False) == GuestAccess("ok", "rescinded")
    assert machine.guest() == GuestAccess("exception", "#VC")


def test_size_mismatch_is_an_answer_not_a_fault(machine: Machine) -> None:
    async def body(t: Task) -> GuestAccess:
        await machine.snp.prepare(t, machine.vm, 0x800, 0x1000, 0)
        return await machine.snp.pvalidate(t, machine.vm, 0x800, 0x1000, True, level=2)

    assert machine.run.one(body) == GuestAccess("ok", "size_mismatch")
    assert machine.flags == []


# -- each flag, alone ------------------------------------------------------------------------------


def test_host_rmp_violation(machine: Machine) -> None:
    machine.private()
    machine.guest("data:secret")
    machine.host("data:host")
    assert machine.flags == ["HOST_RMP_VIOLATION"]
    assert machine.guest() == GuestAccess("ok", "data:secret")


def test_host_rmp_violation_by_clearing(machine: Machine) -> None:
    machine.prepare()

    async def body(t: Task) -> None:
        machine.snp.clear(t, PFN)

    machine.run.one(body)
    assert machine.flags == ["HOST_RMP_VIOLATION"]
    assert machine.snp.memory.read(PFN) == STALE


def test_host_rmp_violation_through_a_large_mapping(machine: Machine) -> None:
    """A neighbour's frame, while the direct map of the region is still large."""
    machine.prepare()
    machine.snp.split.clear()

    async def body(t: Task) -> list[str | None]:
        neighbour = [machine.snp.host_access(t, PFN + 1, write) for write in (True, False)]
        elsewhere = machine.snp.host_access(t, PFN + 512, True)
        return [*neighbour, elsewhere]

    assert machine.run.one(body) == ["HOST_RMP_VIOLATION", None, None]


def test_host_read_ciphertext(machine: Machine) -> None:
    machine.private()
    machine.guest("data:secret")
    assert machine.host() == CIPHER
    assert machine.flags == ["HOST_READ_CIPHERTEXT"]


def test_rmp_leak(machine: Machine) -> None:
    machine.prepare()
    assert machine.free() == "RMP_LEAK"
    assert machine.flags == []


def test_a_frame_that_the_kernel_leaks_is_no_rmp_leak(machine: Machine) -> None:
    machine.prepare()
    machine.snp.snp_leak_page(PFN)
    assert machine.free() is None


def test_rmp_gpa_stale(machine: Machine) -> None:
    """A gmem offset bound again at another address keeps the old one: the guest faults for ever."""
    machine.private()
    assert machine.guest(gfn=GFN + 1) == GuestAccess("npf", flag="RMP_GPA_STALE")
    machine.prepare()
    assert machine.guest(gfn=GFN + 1).kind == "npf"
    assert set(machine.flags) == {"RMP_GPA_STALE"}


def test_rmp_gpa_stale_at_pvalidate(machine: Machine) -> None:
    machine.prepare()
    assert machine.pvalidate(gfn=GFN + 1) == GuestAccess("npf", flag="RMP_GPA_STALE")


def test_rmp_asid_stale(machine: Machine, other_vm: FakeVm) -> None:
    machine.prepare(other_vm)
    assert machine.guest() == GuestAccess("npf", flag="RMP_ASID_STALE")
    assert machine.flags == ["RMP_ASID_STALE"]


@pytest.mark.parametrize("write", [None, "data:x"])
def test_rmp_shared_stale(machine: Machine, write: str | None) -> None:
    machine.private()
    machine.guest("data:secret")
    result = machine.guest(write, private=False)
    assert result == (
        GuestAccess("ok", CIPHER, "RMP_SHARED_STALE")
        if write is None
        else GuestAccess("npf", flag="RMP_SHARED_STALE")
    )
    assert machine.flags == ["RMP_SHARED_STALE"]
    assert machine.guest() == GuestAccess("ok", "data:secret")


@pytest.mark.parametrize("on", [True, False])
def test_double_validate(machine: Machine, on: bool) -> None:
    machine.prepare()
    machine.pvalidate()
    if not on:
        machine.pvalidate(on=False)
    assert machine.pvalidate(on=on) == GuestAccess("ok", "no_change", "DOUBLE_VALIDATE")
    assert machine.flags == ["DOUBLE_VALIDATE"]


def test_guest_accept_records_its_flag_itself(machine: Machine) -> None:
    machine.prepare()

    async def body(t: Task) -> list[str]:
        results = [await machine.snp.guest_accept(t, machine.vm, GFN, PFN) for _ in range(2)]
        return [result.value for result in results]

    assert machine.run.one(body) == ["validated", "no_change"]
    assert machine.flags == ["DOUBLE_VALIDATE"]


def test_actors_on_one_memory_share_the_rmp(machine: Machine) -> None:
    other = Snp(machine.snp.memory)
    machine.prepare()
    assert other.rmp is machine.snp.rmp
    assert other.rmp.entry(PFN).assigned
    assert other.psp is machine.snp.psp
