"""Small random workloads: a few vCPUs and VMM threads that do everything the model can do to one or two files.

A workload is made from a seed and run under a random schedule from the same seed, with the oracles watching.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from gmemsim.actors.folio import Folio
from gmemsim.actors.gmem_populate import Source
from gmemsim.actors.inode import GmemFile, GmemInode, HostMapping, Process
from gmemsim.actors.memslot import UserMemory
from gmemsim.actors.release import RELEASES
from gmemsim.actors.vm import Vcpu, Vm, World
from gmemsim.arch.base import Arch, HookResult
from gmemsim.arch.memory import PhysicalMemory, data
from gmemsim.arch.snp import Snp
from gmemsim.arch.sw_protected import SwProtected
from gmemsim.arch.tdx import Tdx
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import Oracles
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gmemsim.actors.kernel import Kernel
    from gmemsim.actors.release import Release
    from gmemsim.arch.base import Content
    from gmemsim.engine.strategy import Strategy
    from gmemsim.engine.task import Task

__all__ = ["BASE", "KINDS", "LAUNCHED", "AssigningArch", "Machine", "Plan", "run_random"]

#: First gfn of every slot 0.
BASE = 0x100
PAGE = 4096


class AssigningArch(SwProtected):
    """A made-up arch with the smallest hardware state: a frame is assigned to a guest, or it is not.

    Enough to see prepare, populate and invalidate matter, without the details of any product.
    """

    name: ClassVar[str] = "assigning"
    needs_launch: ClassVar[bool] = True

    def __init__(self, memory: PhysicalMemory) -> None:
        super().__init__(memory)
        #: One table for the whole machine, whatever the number of VMs.
        self.assigned: set[int] = memory.hardware.setdefault("assigned", set())

    async def prepare(self, t: Task, vm: Any, gfn: int, pfn: int, order: int) -> HookResult:
        """Assign; no more than a look if it is."""
        if t.fault("prepare"):
            return HookResult(-22, False)
        if pfn in self.assigned:
            return HookResult(0, False)
        self.assigned.add(pfn)
        return HookResult(0, True)

    async def invalidate(self, t: Task, start: int, end: int) -> None:
        """Take the assignment away."""
        self.assigned.difference_update(range(start, end))

    async def populate(
        self, t: Task, vm: Any, gfn: int, pfn: int, source: Content, map_private_pfn: Any = None
    ) -> int:
        assert not callable(source)
        """Copy, then assign; -EEXIST if it is assigned, -EOPNOTSUPP without a source."""
        if source is None:
            return -95
        if pfn in self.assigned:
            return -17
        if t.fault("populate"):
            return -5
        self.memory.write(pfn, source)
        self.assigned.add(pfn)
        return 0

    async def launch_finish(self, t: Task, vm: Any) -> int:
        """From now on the guest may run."""
        return 0

    def page_freed(self, t: Task, pfn: int) -> str | None:
        """A frame must not be freed while it is assigned."""
        return "RMP_LEAK" if pfn in self.assigned else None


#: Kinds of VM: arch and flags of the file.
KINDS: dict[str, tuple[Callable[[PhysicalMemory], Arch], frozenset[str]]] = {
    "shared": (Arch, frozenset({"MMAP", "INIT_SHARED"})),
    "private": (SwProtected, frozenset()),
    "assigned": (AssigningArch, frozenset()),
    "snp": (Snp, frozenset()),
    "tdx": (Tdx, frozenset()),
}

#: Kinds whose guests run only after a launch phase.
LAUNCHED = frozenset({"assigned", "snp", "tdx"})


class Machine:
    """A world with one VM of a kind, one bound file, and what VMM threads need; more can be added.

    Every operation of a workload is a method that returns nothing and swallows ordinary errors.
    """

    def __init__(
        self,
        kernel: type[Kernel],
        kind: str = "shared",
        *,
        pages: int = 3,
        vcpus: int = 2,
        release: Release | None = None,
        gmem_prepare: bool = True,
    ) -> None:
        self.memory = PhysicalMemory()
        self.world = World()
        self.kernel = kernel(self.world, self.memory, release, gmem_prepare=gmem_prepare)
        self.pages = pages
        self.process = Process("vmm")
        self.world.processes["vmm"] = self.process
        self.files: list[GmemFile] = []
        self.mappings: dict[int, HostMapping] = {}
        self.pins: list[tuple[GmemInode, Folio]] = []
        self.vm = self.add_vm("vm0", kind, vcpus)
        self.inode = self.files[0].inode

    @property
    def arch(self) -> Any:
        """The first VM's arch actor."""
        return self.vm.arch

    def do(self, function: Callable[[Task], Any]) -> Any:
        """Run one coroutine alone, outside the measured run."""
        engine = Engine()
        task = engine.spawn("setup", function)
        bare.run(engine)
        return task.result

    def add_vm(self, label: str, kind: str, vcpus: int, share: GmemInode | None = None) -> Vm:
        """A VM with its own file, or with a second file of an inode that is there."""
        make, flags = KINDS[kind]
        vm = Vm(label, len(self.world.vms), make(self.memory))
        self.world.vms[label] = vm
        vm.vcpus += [Vcpu(vm, number, f"{label}.vcpu{number}") for number in range(vcpus)]
        user = UserMemory(f"{label}.user") if kind != "shared" else None
        if kind != "shared":
            vm.attributes.update(range(BASE, BASE + self.pages))

        async def bind(t: Task) -> GmemFile:
            if share is None:
                made = await self.kernel.kvm_gmem_create(
                    t, vm, f"gmem{len(self.files)}", self.pages * PAGE, flags
                )
                assert isinstance(made, GmemFile), made
            else:
                made = GmemFile(f"{share.label}@{label}", share, vm)
                share.files.append(made)
                vm.files[share.label] = made
            ret = await self.kernel.kvm_set_memory_region(t, vm, 0, BASE, self.pages, made, 0, user)
            assert ret == 0, ret
            if kind == "shared" and share is None:
                mapping = await self.kernel.kvm_gmem_mmap(
                    t, made, self.process, f"map{len(self.files)}", 0, self.pages
                )
                assert isinstance(mapping, HostMapping), mapping
                self.mappings[len(self.files)] = mapping
            return made

        self.files.append(self.do(bind))
        return vm

    # -- operations ------------------------------------------------------------------------------

    async def access(self, t: Task, vm: int, vcpu: int, page: int, write: bool) -> None:
        """One guest access; after a memory-fault exit the guest does something else."""
        owner = list(self.world.vms.values())[vm]
        who = owner.vcpus[vcpu % len(owner.vcpus)]
        if not owner.finalized:
            return
        gfn = BASE + page
        private = gfn in owner.attributes if owner.arch.hardware_private else None
        if private:
            await self.kernel.guest_accept(t, who, gfn)
        await self.kernel.guest_access(t, who, gfn, private, data("guest") if write else None)

    async def prefault(self, t: Task, vm: int, vcpu: int, page: int, count: int) -> None:
        """KVM_PRE_FAULT_MEMORY."""
        owner = list(self.world.vms.values())[vm]
        who = owner.vcpus[vcpu % len(owner.vcpus)]
        await self.kernel.kvm_vcpu_pre_fault_memory(t, who, (BASE + page) * PAGE, count * PAGE)

    async def fallocate(self, t: Task, file: int, start: int, end: int, punch: bool) -> None:
        """Allocate or punch."""
        await self.kernel.kvm_gmem_fallocate(t, self.files[file], start * PAGE, (end - start) * PAGE, punch)

    async def touch(self, t: Task, file: int, index: int, write: bool) -> None:
        """A host access through the mapping."""
        mapping = self.mappings.get(file)
        if mapping is not None:
            await self.kernel.host_access(t, mapping, index, data("host") if write else None)

    async def discard(self, t: Task, file: int, start: int, end: int) -> None:
        """madvise(MADV_DONTNEED)."""
        mapping = self.mappings.get(file)
        if mapping is not None:
            await self.kernel.madvise_dontneed(t, mapping, start, end)

    async def munmap(self, t: Task, file: int) -> None:
        """Unmap the file."""
        mapping = self.mappings.pop(file, None)
        if mapping is not None:
            await self.kernel.munmap(t, mapping)

    async def pin(self, t: Task, file: int, index: int) -> None:
        """A long-term pin, given back by `unpin` or at the end."""
        mapping = self.mappings.get(file)
        if mapping is not None:
            folio = await self.kernel.pin_user_page(t, mapping, index)
            if isinstance(folio, Folio):
                self.pins.append((mapping.inode, folio))

    async def unpin(self, t: Task) -> None:
        """Give one pin back."""
        if self.pins:
            inode, folio = self.pins.pop()
            await self.kernel.unpin_user_page(t, inode, folio)

    async def convert(self, t: Task, vm: int, start: int, end: int, private: bool) -> None:
        """KVM_SET_MEMORY_ATTRIBUTES."""
        owner = list(self.world.vms.values())[vm]
        await self.kernel.kvm_vm_ioctl_set_mem_attributes(
            t, owner, (BASE + start) * PAGE, (end - start) * PAGE, private
        )

    async def delete(self, t: Task, vm: int, slot: int) -> None:
        """Delete a slot."""
        await self.kernel.kvm_set_memory_region(t, list(self.world.vms.values())[vm], slot, 0, 0)

    async def create(self, t: Task, vm: int, slot: int, start: int, end: int, offset: int) -> None:
        """Create a slot of part of the VM's file."""
        await self.kernel.kvm_set_memory_region(
            t, list(self.world.vms.values())[vm], slot, BASE + start, end - start, self.files[vm], offset * PAGE,
            UserMemory(f"user{vm}.{slot}"),
        )  # fmt: skip

    async def bind_other(self, t: Task, vm: int, file: int) -> None:
        """Create slot 7 over a file that may be another VM's."""
        await self.kernel.kvm_set_memory_region(
            t, list(self.world.vms.values())[vm], 7, BASE + 64, self.pages, self.files[file]
        )

    async def close(self, t: Task, file: int) -> None:
        """close(2), once."""
        if self.files[file] in self.open_files:
            self.open_files.remove(self.files[file])
            await self.kernel.fput(t, self.files[file])

    async def fail(self, t: Task, file: int, index: int) -> None:
        """A memory error."""
        await self.kernel.memory_failure(t, self.files[file].inode, index)

    async def populate(self, t: Task, vm: int, page: int, count: int) -> None:
        """Launch-time population under kvm->lock and slots_lock, as the launch ioctls do it."""
        owner = list(self.world.vms.values())[vm]
        source = Source(self.process, tuple(data(f"source{page + number}") for number in range(count)))
        await owner.lock.lock(t)
        if not owner.finalized:
            await owner.slots_lock.lock(t)
            await self.kernel.kvm_gmem_populate(t, owner, BASE + page, count, source)
            await owner.slots_lock.unlock(t)
        await owner.lock.unlock(t)
        await self.kernel.task_work_run(t)

    async def launch(self, t: Task, vm: int) -> None:
        """The end of the launch."""
        await self.kernel.launch_finish(t, list(self.world.vms.values())[vm])

    @property
    def open_files(self) -> list[GmemFile]:
        """Files that the workload has not closed."""
        if not hasattr(self, "_open"):
            self._open = list(self.files)
        return self._open

    # -- running ---------------------------------------------------------------------------------

    def run(
        self,
        plan: Plan,
        strategy: Strategy | None = None,
        *,
        collect: bool = False,
        rules: Iterable[str] | None = None,
        then: Callable[[Task, Any], None] | None = None,
        max_steps: int = 200_000,
    ) -> Oracles:
        """Run the plan with oracles; raises what they find unless `collect`."""
        oracles = Oracles(self.world, self.kernel, collect=collect, rules=rules, then=then)
        engine = Engine(strategy, rec=oracles, faults=plan.faults, max_steps=max_steps)

        async def body(t: Task, operations: list[tuple[str, tuple[Any, ...]]]) -> None:
            for name, arguments in operations:
                t.call += 1
                oracles.begin(t)
                await getattr(self, name)(t, *arguments)
                oracles.end(t)

        for name, operations in plan.threads:
            engine.spawn(name, body, operations)
        bare.run(engine)
        oracles.finish()
        return oracles


class Plan:
    """What each thread does.

    Attributes:
        threads: name and operations (method of `Machine`, arguments) of each.
        faults: fault points that may fire, as for the engine.
    """

    def __init__(self, *threads: list[tuple[Any, ...]], faults: dict[str, int] | None = None) -> None:
        self.threads = [
            (f"t{number}", [(op[0], tuple(op[1:])) for op in operations])
            for number, operations in enumerate(threads)
        ]
        self.faults = faults or {}

    def __repr__(self) -> str:
        lines = [
            f"{name}: " + ", ".join(f"{op}{args}" for op, args in operations)
            for name, operations in self.threads
        ]
        return "\n".join([*lines, f"faults {self.faults}"])


def random_plan(random: Random, machine: Machine, kind: str, poison: bool = True) -> Plan:
    """Two vCPU-like threads and one to three others, each with one to four operations."""
    pages = machine.pages
    vms = len(machine.world.vms)
    files = len(machine.files)

    def span() -> tuple[int, int]:
        start = random.randrange(pages)
        return start, random.randrange(start, pages) + 1

    def create(vm: int) -> tuple[Any, ...]:
        start, end = span()
        # Hardware remembers the gfn of a page: another one would make the guest fault for ever (RMP_GPA_STALE).
        return "create", vm, random.randrange(2), start, end, start if kind in LAUNCHED else 0

    def guest() -> tuple[Any, ...]:
        vm, vcpu, page = random.randrange(vms), random.randrange(2), random.randrange(pages)
        if random.random() < 0.2:
            return "prefault", vm, vcpu, page, random.randrange(1, pages - page + 1)
        return "access", vm, vcpu, page, random.random() < 0.4

    def vmm() -> tuple[Any, ...]:
        vm, file = random.randrange(vms), random.randrange(files)
        choices: list[tuple[Any, ...]] = [
            ("fallocate", file, *span(), True),
            ("fallocate", file, *span(), True),
            ("fallocate", file, *span(), False),
            ("delete", vm, 0),
            create(vm),
            ("create", vm, 0, 0, pages, 0),
        ]
        if len({opened.inode for opened in machine.files}) == files:
            # With two files of one inode a close can unbalance a punch: finding `punch-unbind-unbalanced`.
            choices.append(("close", file))
        if poison:
            choices.append(("fail", file, random.randrange(pages)))
        if kind == "shared":
            choices += [
                ("touch", file, random.randrange(pages), random.random() < 0.5),
                ("touch", file, random.randrange(pages), random.random() < 0.5),
                ("discard", file, *span()),
                ("pin", file, random.randrange(pages)),
                ("unpin",),
                ("munmap", file),
            ]
        else:
            choices += [("convert", vm, *span(), private) for private in (False, False, True)]
        if kind in LAUNCHED:
            choices += [("populate", vm, random.randrange(pages), random.randrange(1, 3))] * 2
            choices += [("launch", vm)] * 2
        return random.choice(choices)

    threads = [[guest() for _ in range(random.randrange(1, 4))] for _ in range(2)]
    threads += [[vmm() for _ in range(random.randrange(1, 4))] for _ in range(random.randrange(1, 4))]
    faults = {}
    if random.random() < 0.4:
        points = [
            "alloc_folio", "need_resched", "signal", "mmu_topup", "alloc_memslot", "alloc_attributes", "prepare",
            "gup_cold", "populate",
        ]  # fmt: skip
        faults = {random.choice(points): 1, "need_resched": 1}
    return Plan(*threads, faults=faults)


def run_random(
    seed: int,
    patch: str | type[Kernel],
    *,
    poison: bool = True,
    collect: bool = False,
    release: str = "",
    max_steps: int = 200_000,
) -> tuple[Oracles, Plan]:
    """One random workload under one random schedule."""
    random = Random(seed)
    kernel = PATCHES[patch] if isinstance(patch, str) else patch
    kind = random.choice(sorted(KINDS))
    # An arch with private memory in hardware selects the hooks.
    hooks = kind in LAUNCHED or random.random() < 0.8
    if release and not RELEASES[release].host_mmap and kind == "shared":
        kind = "private"
    age = RELEASES[release] if release else None
    machine = Machine(kernel, kind, pages=random.choice((1, 2, 3)), gmem_prepare=hooks, release=age)
    extra = random.random()
    if extra < 0.15:
        machine.add_vm("vm1", kind if release else random.choice(sorted(KINDS)), 1)
    elif extra < 0.3 and kind not in LAUNCHED:
        machine.add_vm("vm1", kind, 1, share=machine.inode)
    if kind in LAUNCHED and random.random() < 0.6:
        for number in range(len(machine.world.vms)):
            machine.do(partial(Machine.launch, machine, vm=number))
    plan = random_plan(random, machine, kind, poison)
    return machine.run(plan, RandomStrategy(seed), collect=collect, max_steps=max_steps), plan
