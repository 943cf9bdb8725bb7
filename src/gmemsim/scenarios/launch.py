"""The pages of a launch command, as SNP and TDX ask guest_memfd for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ..actors.gmem_populate import Source
    from ..actors.kernel import Kernel
    from ..actors.vm import Vm
    from ..engine.task import Task


async def launch_pages(
    kernel: Kernel, t: Task, vm: Vm, gfn: int, pages: int, source: Source | None
) -> tuple[int, int]:
    """Calls of `kvm_gmem_populate` under the command's locks: what the last one returned, and pages done.

    `snp_launch_update` asks for all pages at once, `tdx_vcpu_init_mem_region` for one at a time. Either stops where a
    call does less than it was asked for.
    """
    batch = 1 if vm.stage2.mirrored else pages
    done = ret = 0
    while done < pages:
        part = source and attrs.evolve(source, contents=source.contents[done:])
        ret = await kernel.kvm_gmem_populate(t, vm, gfn + done, min(batch, pages - done), part)
        done += max(ret, 0)
        if ret != batch:
            break
    return ret, done
