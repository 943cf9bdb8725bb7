"""A stage-2 fault under way: what the functions on its path hand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .folio import Folio
    from .memslot import Memslot
    from .vm import Vcpu


class RetPf:
    """RET_PF_*: how a stage-2 fault ended."""

    CONTINUE = 0
    RETRY = 1
    EMULATE = 2
    FIXED = 5
    SPURIOUS = 6


#: `RetPf` by value.
RET_PF: Final[dict[int, str]] = {value: name for name, value in vars(RetPf).items() if isinstance(value, int)}


class Fault:
    """`struct kvm_page_fault`.

    Attributes:
        private: what the access says it is (hardware bit, or KVM's own idea at fault entry).
        seq: the invalidation sequence in force.
        generation: of the root; when that is obsolete (`Vm.root_generation`), the fault is stale.
        prefetch: the fault comes from KVM_PRE_FAULT_MEMORY.
        pfn, folio: what was found; folio is None for memory that is not guest_memfd's.
        order: the folio's when it was found; it may be split meanwhile.
        goal_level: of the leaf that maps the gfn when the fault ends well.
    """

    __slots__ = (
        "folio", "generation", "gfn", "goal_level", "order", "pfn", "prefetch", "private", "seq", "slot", "vcpu",
    )  # fmt: skip

    def __init__(self, vcpu: Vcpu, gfn: int, private: bool, prefetch: bool) -> None:
        self.vcpu = vcpu
        self.gfn = gfn
        self.private = private
        self.prefetch = prefetch
        self.seq = 0
        # Both have loops below the place where the root is loaded.
        keeps = prefetch or (private and vcpu.vm.stage2.mirrored)
        self.generation = vcpu.root_generation if keeps else vcpu.vm.root_generation
        self.slot: Memslot | None = None
        self.pfn = -1
        self.folio: Folio | None = None
        self.order = 0
        self.goal_level = 1
