"""`KVM_X86_SW_PROTECTED_VM`: private memory as policy only, no hardware behind it (arch.md 3).

The private bit of a fault is taken from KVM's own attribute at fault entry, before the sequence snapshot, and
looked up a second time inside the fault; a conversion in between is a real exit to userspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import Arch

if TYPE_CHECKING:
    from ..engine.task import Task
    from .base import VmIdentity


class SwProtected(Arch):
    """Private memory without hardware (`KVM_X86_SW_PROTECTED_VM`): every hook is free, so only locks cost."""

    name: ClassVar[str] = "sw-protected"
    has_private_memory: ClassVar[bool] = True
    shared_from_start: ClassVar[bool] = False

    async def launch_finish(self, t: Task, vm: VmIdentity) -> int:
        return -22
