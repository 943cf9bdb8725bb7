"""Conversions in place, as a VMM asks for them: per file, since that is what the call works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.errno import EAGAIN, EINVAL, ENOTTY
from ..actors.gmem_convert import Converted
from ..patches.inplace_v8 import InplaceV8
from .units import PAGE

if TYPE_CHECKING:
    from ..actors.inode import GmemFile
    from ..actors.kernel import Kernel
    from ..actors.vm import Vm
    from ..engine.task import Task


async def convert_file(
    kernel: Kernel,
    t: Task,
    file: GmemFile,
    offset: int,
    size: int,
    private: bool,
    flags: int = 0,
    attempts: int = 1,
) -> Converted:
    """Call, and call again while somebody uses a page, up to `attempts` times; offset and size in bytes."""
    if not isinstance(kernel, InplaceV8):
        return Converted(ENOTTY)
    while True:
        attempts -= 1
        done = await kernel.kvm_gmem_set_attributes(t, file, offset, size, private, flags)
        if done.ret != EAGAIN or not attempts:
            return done


async def convert_files(
    kernel: Kernel, t: Task, vm: Vm, start: int, end: int, private: bool, attempts: int = 1
) -> int:
    """Guest frames [start, end): one call for each slot that they meet; 0, or the first errno.

    The VMM goes by its own record of slots, which is what is published at the moment. -EINVAL if there is none.
    """
    ret = EINVAL
    for slot in sorted(vm.slots, key=lambda slot: slot.base_gfn):
        low, high = max(start, slot.base_gfn), min(end, slot.base_gfn + slot.pages)
        if low >= high:
            continue
        if slot.gmem_file is None:
            continue
        offset, size = slot.index_of(low) * PAGE, (high - low) * PAGE
        ret = (await convert_file(kernel, t, slot.gmem_file, offset, size, private, 0, attempts)).ret
        if ret:
            break
    return ret
