"""A machine whose file can be mapped by the host and converted in place, and the operations for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.explore.workloads import AssigningArch
from tests.model.rig import BASE, PAGE, Rig

from gmemsim.actors.gmem_convert import Converted
from gmemsim.actors.inode import GmemFile, GmemInode, HostMapping
from gmemsim.actors.vm import Vcpu, Vm
from gmemsim.arch.memory import PhysicalMemory, data
from gmemsim.arch.snp import Snp
from gmemsim.arch.sw_protected import SwProtected
from gmemsim.arch.tdx import Tdx
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.inplace_v8 import InplaceV8

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.kernel import Kernel
    from gmemsim.arch.base import Arch
    from gmemsim.engine.task import Task

__all__ = ["ARCHES", "InplaceRig"]

ARCHES: dict[str, Callable[[PhysicalMemory], Arch]] = {
    "private": SwProtected,
    "assigned": AssigningArch,
    "snp": Snp,
    "tdx": Tdx,
}


class InplaceRig(Rig):
    """One VM with a private file of `pages` pages, mapped by the host; `shared` begins shared."""

    def __init__(
        self,
        kernel: type[Kernel] = Inplace,
        kind: str = "private",
        *,
        shared: bool = False,
        finalized: bool = True,
        **options: Any,
    ) -> None:
        self.flags = frozenset({"MMAP", "INIT_SHARED"} if shared else {"MMAP"})
        super().__init__(kernel, kind, **options)
        if finalized and not self.vm.finalized:
            self.do(lambda t: self.kernel.launch_finish(t, self.vm))

    @property
    def inplace(self) -> InplaceV8:
        """The kernel, as one that converts."""
        assert isinstance(self.kernel, InplaceV8)
        return self.kernel

    def add_vm(self, label: str, kind: str, vcpus: int, share: GmemInode | None = None) -> Vm:
        """A VM with a file of its own, bound and mapped; or with a second file of an inode that is there."""
        vm = Vm(label, len(self.world.vms), ARCHES[kind](self.memory))
        self.world.vms[label] = vm
        vm.vcpus += [Vcpu(vm, number, f"{label}.vcpu{number}") for number in range(vcpus)]

        async def bind(t: Task) -> GmemFile:
            if share is None:
                name = f"gmem{len(self.files)}"
                made = await self.kernel.kvm_gmem_create(t, vm, name, self.pages * PAGE, self.flags)
                assert isinstance(made, GmemFile), made
            else:
                made = GmemFile(f"{share.label}@{label}", share, vm)
                share.files.append(made)
                vm.files[share.label] = made
            ret = await self.kernel.kvm_set_memory_region(t, vm, 0, BASE, self.pages, made)
            assert ret == 0, ret
            if share is None:
                mapping = await self.kernel.kvm_gmem_mmap(
                    t, made, self.process, f"map{len(self.files)}", 0, self.pages
                )
                assert isinstance(mapping, HostMapping), mapping
                self.mappings[len(self.files)] = mapping
            return made

        self.files.append(self.do(bind))
        return vm

    async def access(self, t: Task, vm: int, vcpu: int, page: int, write: bool) -> None:
        """One guest access; the guest knows what is private, and accepts before it touches."""
        owner = list(self.world.vms.values())[vm]
        who = owner.vcpus[vcpu % len(owner.vcpus)]
        if not owner.finalized:
            return
        gfn = BASE + page
        private = self.kernel.gfn_is_private(owner, gfn) if owner.arch.hardware_private else None
        if private:
            await self.kernel.guest_accept(t, who, gfn)
        await self.kernel.guest_access(t, who, gfn, private, data("guest") if write else None)

    async def convert(self, t: Task, vm: int, start: int, end: int, private: bool) -> None:
        """The conversion call on the file of that number."""
        await self.inplace.kvm_gmem_set_attributes(
            t, self.files[vm], start * PAGE, (end - start) * PAGE, private
        )

    async def convert_vm(self, t: Task, start: int, end: int, private: bool) -> None:
        """KVM_SET_MEMORY_ATTRIBUTES on the VM."""
        await self.kernel.kvm_vm_ioctl_set_mem_attributes(
            t, self.vm, (BASE + start) * PAGE, (end - start) * PAGE, private
        )

    def set_attributes(self, start: int, end: int, private: bool, **how: Any) -> Callable[[Task], Any]:
        """The conversion call, as an operation with a result."""
        return lambda t: self.inplace.kvm_gmem_set_attributes(
            t, self.files[0], start * PAGE, (end - start) * PAGE, private, **how
        )

    def to(self, private: bool, start: int = 0, end: int | None = None) -> Converted:
        """Convert now; the answer."""
        done = self.call(self.set_attributes(start, self.pages if end is None else end, private))
        assert isinstance(done, Converted)
        return done

    def host(self, index: int = 0, write: str | None = None) -> Callable[[Task], Any]:
        """A host access through the mapping, as an operation."""
        mapping = self.mappings[0]
        return lambda t: self.kernel.host_access(t, mapping, index, write)

    @property
    def kinds(self) -> list[tuple[int, int, bool]]:
        """The attribute map."""
        assert self.inode.attributes is not None
        return self.inode.attributes.ranges()
