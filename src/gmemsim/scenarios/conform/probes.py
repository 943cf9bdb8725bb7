"""Steps of a vector that are no calls: what the model itself says of its state and of its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...patches.inplace_v8 import InplaceV8
from ..units import PAGE
from . import arguments as a
from .registry import op
from .results import Got
from .rig import Unsupported

if TYPE_CHECKING:
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step


@op(a.Stage2Mapped)
async def stage2_mapped(rig: Rig, t: Task, step: Step, args: a.Stage2Mapped) -> Got:
    found = [rig.vm(step.actor).stage2.find(args.gpa // PAGE, kind) for kind in (True, False)]
    return Got("value", any(spte is not None and spte.pfn >= 0 for spte in found))


@op(a.EventCount)
async def event_count(rig: Rig, t: Task, step: Step, args: a.EventCount) -> Got:
    """By guest address, where a slot is, or by offset of a file."""
    if (args.gpa is None) == (args.offset is None):
        raise Unsupported("event_count needs gpa, or offset of a file")
    if args.offset is not None:
        inode = rig.inodes.get(args.gmem) if args.gmem else rig.only_inode()
        if inode is None:
            raise Unsupported(f"event_count: no file {args.gmem!r}")
        return Got("value", rig.counts.of(args.event, inode, args.offset // PAGE))
    assert args.gpa is not None
    gfn = args.gpa // PAGE
    slot = rig.vm(step.actor).slot_of(gfn)
    if slot is None or slot.gmem_file is None:
        raise Unsupported(f"no slot with a file at gpa {args.gpa:#x}")
    return Got("value", rig.counts.of(args.event, slot.gmem_file.inode, slot.index_of(gfn)))


@op(a.GetState)
async def get_state(rig: Rig, t: Task, step: Step, args: a.GetState) -> Got:
    """Whether a range is private or shared, or mixed."""
    kernel = rig.kernel
    if not isinstance(kernel, InplaceV8) or not kernel.in_place:
        raise Unsupported("state of a file without conversion in place")
    row = rig.file(args.gmem)
    if row.id not in rig.machine.descriptors(rig.process(step.actor)):
        return Got("EBADF")
    pages = range(args.offset // PAGE, (args.offset + args.len) // PAGE)
    found = {kernel.gmem_attr_value(rig.inodes[row.id], index) for index in pages}
    return Got(
        "value", None, {"state": "mixed" if len(found) > 1 else "private" if found.pop() else "shared"}
    )
