"""TLB tracking of a TD: epochs, and the vCPUs that are inside the guest (arch.md 2.1, 2.3).

A blocked page may be removed once every vCPU that could still hold its translation has left the guest. The
module does not count translations but epochs: TRACK starts a new one, each vCPU belongs to the epoch in
which it entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.observed import announces, by_key, reads, whole
from ..engine.op import ALL
from .spin import TryLock

if TYPE_CHECKING:
    from ..engine.task import Task


def _epoch(vcpu: TdVcpu) -> tuple[str, int, int]:
    return vcpu.label, 0, ALL


@announces(
    epoch=_epoch,
    kicked=_epoch,
    in_module=lambda vcpu: (vcpu.module_label, 0, ALL),
)
class TdVcpu:
    """One vCPU as the module sees it.

    Attributes:
        epoch: the TD epoch in which it entered the guest, or None while it is outside.
        last_epoch: of its last entry; a later epoch at the next entry flushes its TLB.
        tlb: translations that it holds, gfn to pfn.
        faults: EPT faults since it last made progress.
        label, module_label: objects of the steps that look at or change `epoch` and `kicked`, and `in_module`.
        in_module: inside a SEAMCALL or TDCALL, where a kick has to wait for it.
        kicked: an interrupt is pending; a long TDCALL looks for it and returns early.
        accepting: first gfn and level of its last accept that faulted, until KVM has mapped it.
    """

    __digest_skip__ = ("label", "module_label")
    __slots__ = (
        "accepting", "epoch", "faults", "in_module", "kicked", "label", "last_epoch", "module_label", "tlb",
    )  # fmt: skip

    def __init__(self, label: str, task: str) -> None:
        self.label = label
        self.module_label = f"{label}.{task}"
        self.epoch: int | None = None
        self.last_epoch = 0
        self.tlb: dict[int, int] = {}
        self.faults = 0
        self.in_module = False
        self.kicked = False
        self.accepting: tuple[int, int] | None = None


def _epochs(epochs: Epochs, *_: object) -> tuple[str, int, int]:
    return epochs.lock.label, 0, ALL


@announces(
    epoch=_epochs,
    count=whole(_epochs),
    vcpus=by_key(lambda epochs: f"{epochs.lock.label}.vcpus", lambda task: (task.ident, task.ident + 1)),
)
class Epochs:
    """Epoch state of one TD.

    Attributes:
        lock: the TD epoch resource: VP.ENTER shared, TRACK exclusive.
        epoch: the current one.
        count: vCPUs inside the guest that entered in an even and in an odd epoch.
        vcpus: by the task that runs the vCPU.
    """

    __slots__ = ("count", "epoch", "lock", "vcpus")

    def __init__(self, label: str) -> None:
        self.lock = TryLock(f"{label}.epoch")
        self.epoch = 1
        self.count = [0, 0]
        self.vcpus: dict[Task, TdVcpu] = {}

    def vcpu(self, t: Task) -> TdVcpu:
        """The vCPU that `t` runs."""
        found = self.vcpus.get(t)
        if found is None:
            self.vcpus[t] = found = TdVcpu(self.lock.label, t.name)
        return found

    @reads(_epochs)
    def entered(self, vcpu: TdVcpu) -> None:
        """`vcpu` is inside the guest from now on.

        A read, like the shared lock that the caller holds: what two vCPUs add to the count can come in either order.
        """
        if vcpu.last_epoch != self.epoch:
            vcpu.tlb.clear()
        vcpu.epoch = vcpu.last_epoch = self.epoch
        vcpu.kicked = False
        self.count[self.epoch & 1] += 1

    def left(self, vcpu: TdVcpu) -> None:
        """`vcpu` is outside the guest, if it was not already."""
        if vcpu.epoch is not None:
            self.count[vcpu.epoch & 1] -= 1
            vcpu.epoch = None

    def previous_busy(self) -> bool:
        """Whether a vCPU is still inside from the epoch before."""
        return self.count[(self.epoch - 1) & 1] != 0

    def tracked(self, bepoch: int) -> bool:
        """Whether no vCPU can hold a translation that was blocked in `bepoch`."""
        if bepoch == self.epoch - 1:
            return self.count[bepoch & 1] == 0
        return bepoch < self.epoch - 1
