# mypy: disable-error-code="misc,valid-type"
"""Changes that were posted, acked or queued beside the versions, each a switch: `VERSION+NAME`.

A version holds what its kernel has; what may come on top is asked for by name. What was read of a change is said with
it: of some only the title, so that the body is our reading. States as of October 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .zoo.entry import Make  # a field's type, which attrs resolves

if TYPE_CHECKING:
    from ..actors.fault import Fault
    from ..actors.inode import HostMapping
    from ..actors.kernel import Kernel
    from ..actors.memslot import Memslot
    from ..actors.vm import Vcpu, Vm
    from ..engine.task import Task


@attrs.frozen(kw_only=True)
class Change:
    """One change.

    Attributes:
        name: what `VERSION+NAME` asks for.
        title: of the commit or series.
        state: `posted`, `acked` (posted, with the acks of its maintainers), or `queued` (in a maintainer's tree).
        source: who, when, which.
        says: what it does here, and what that rests on.
        make: from a patch version to one with the change; None where there is nothing to switch, and `says` tells why.
    """

    name: str
    title: str
    state: str
    source: str
    says: str
    make: Make | None = None


def mf_delayed(parent: type[Kernel]) -> type[Kernel]:
    """memory_failure passes "delayed" on as success."""

    class MfDelayed(parent):
        def action_result(self) -> int:
            return 0

    return MfDelayed


def no_notifier_for_gmem_only(parent: type[Kernel]) -> type[Kernel]:
    """MMU notifiers pass over slots whose memory is guest_memfd's alone."""

    class NoNotifierForGmemOnly(parent):
        def mmu_notifier_slots(self, vm: Vm, mapping: HostMapping) -> list[Memslot]:
            return [slot for slot in super().mmu_notifier_slots(vm, mapping) if not slot.gmem_only]

    return NoNotifierForGmemOnly


def psmash_unassigned_benign(parent: type[Kernel]) -> type[Kernel]:
    """A PSMASH that failed on an entry that is the host's by now lost a race with a reclaim: no error."""

    class PsmashUnassignedBenign(parent):
        async def sev_psmash_failed(self, t: Task, vcpu: Vcpu, pfn: int, code: int) -> int:
            left: int = await super().sev_psmash_failed(t, vcpu, pfn, code)
            return left and (left if await vcpu.vm.arch.rmp_assigned(t, pfn) else 0)

    return PsmashUnassignedBenign


def zap_gfn_range_srcu(parent: type[Kernel]) -> type[Kernel]:
    """kvm_zap_gfn_range is an SRCU section of its own."""

    class ZapGfnRangeSrcu(parent):
        async def kvm_zap_gfn_range(self, t: Task, vm: Vm, start: int, end: int) -> None:
            section = await vm.srcu.read_lock(t)
            await super().kvm_zap_gfn_range(t, vm, start, end)
            await vm.srcu.read_unlock(t, section)

    return ZapGfnRangeSrcu


def vmsa_early_put(parent: type[Kernel]) -> type[Kernel]:
    """The reload of a VMSA drops the page's reference before it takes mmu_lock."""

    class VmsaEarlyPut(parent):
        async def sev_vmsa_mmu_lock(self, t: Task, fault: Fault) -> None:
            await self.kvm_release_faultin_pfn(t, fault)
            fault.folio = None
            await super().sev_vmsa_mmu_lock(t, fault)

    return VmsaEarlyPut


_TITLE_ONLY: Final = "only the title was read"

_ALL: Final = (
    Change(
        name="mf-delayed",
        title="mm: Fix MF_DELAYED handling on memory failure",
        state="acked",
        source="Lisa Wang, v6 of 2026-09-17; acked by David Hildenbrand and Miaohe Lin; not in 7.3.4",
        says="memory_failure returns 0 where guest_memfd's hook says delayed; the patches themselves were not read",
        make=mf_delayed,
    ),
    Change(
        name="no-notifier-for-gmem-only",
        title="KVM: Ignore MMU notifiers for guest_memfd-only memslots",
        state="posted",
        source="Alexandru Elisei, v1 of 2026-06-25, last seen 2026-08-12; 7.3.4 has the sequence of its own for "
        "gfn_to_pfn_cache that it waits for, and not the skip",
        says="madvise, munmap and truncation of the userspace mapping no longer zap such slots; the patches themselves "
        "were not read",
        make=no_notifier_for_gmem_only,
    ),
    Change(
        name="psmash-unassigned-benign",
        title="KVM: SEV: Treat unassigned RMP entry as benign race on PSMASH failure",
        state="queued",
        source="kvm-x86 for 7.4 (21160653, again 71a47b7f)",
        says=f"after a failed PSMASH an entry that is unassigned counts as done; {_TITLE_ONLY}",
        make=psmash_unassigned_benign,
    ),
    Change(
        name="zap-gfn-range-srcu",
        title="KVM: x86: Take SRCU in kvm_zap_gfn_range()",
        state="queued",
        source="kvm-x86 for 7.4 (b59a87c1)",
        says=f"the zap of a range is an SRCU section of its own; {_TITLE_ONLY}",
        make=zap_gfn_range_srcu,
    ),
    Change(
        name="vmsa-early-put",
        title="KVM: SEV: Drop page refcount early in VMSA reload",
        state="queued",
        source="kvm-x86 for 7.4 (3c427e5c, again 34534c25)",
        says=f"the reference goes before mmu_lock is taken; in place there is none; {_TITLE_ONLY}",
        make=vmsa_early_put,
    ),
    Change(
        name="rmp-fault-early-put",
        title="KVM: SEV: Drop page refcount early during RMP fault handling",
        state="queued",
        source="kvm-x86 for 7.4 (375b3293, again 21e858d3)",
        says=f"nothing to switch: the versions whose RMP faults come that far hold no reference; {_TITLE_ONLY}",
    ),
    Change(
        name="rmp-fault-checks-invalidation",
        title="KVM: SEV: Check for invalidation before warning on unassigned RMP entry",
        state="queued",
        source="kvm-x86 for 7.4 (acafcf32, again 8b0c8531)",
        says=f"nothing to switch: it decides about a warning only, and the model gives none; {_TITLE_ONLY}",
    ),
)

CHANGES: Final[dict[str, Change]] = {change.name: change for change in _ALL}

#: Those that can be asked for.
SEEDS: Final[dict[str, Make]] = {change.name: change.make for change in _ALL if change.make is not None}
