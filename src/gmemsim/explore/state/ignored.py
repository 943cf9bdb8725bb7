"""What is no part of a run's state: counters, logs, configuration, clocks.

The default is to include: a class or attribute that is not listed here is state. To leave out too little only makes
states look different that are not; to leave out too much would cut runs that have something new to show.

A class of one's own (a patch, an arch actor) leaves attributes out with a class attribute `__digest_skip__`, a
tuple of names. An oracle may have a method `__digest__` instead: what it returns, in plain values, is all that it
remembers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...actors.inode import Process
from ...actors.kernel import Kernel
from ...actors.release import Release
from ...actors.vcpu_run import GuestResult
from ...actors.vm import World
from ...arch.base import Arch
from ...arch.choices import SnpChoices, TdxChoices
from ...arch.costs import CostTable
from ...arch.psp import Psp
from ...arch.rmp import Rmp
from ...arch.tdx_module import TdxModule
from ...engine.engine import Engine
from ...engine.locks.folio_lock import FolioLock
from ...engine.locks.mutex import Mutex
from ...engine.locks.rwsem_base import RwLockBase
from ...engine.locks.rwsem_core import RwSemCore
from ...engine.locks.rwsem_fine_core import FineCore
from ...engine.locks.rwsem_queue import Waiter
from ...engine.locks.spinlock import QueuedRwLock
from ...engine.locks.stats import Counter, LockClass
from ...oracles import Oracles
from ...scenarios.model import VmTable
from ...scenarios.results import OpResult, TaskResults
from ...scenarios.session import Session
from ...scenarios.steps import Step
from ...scenarios.tables import File, Map, Slot
from ...scenarios.thread import Thread
from ...scenarios.workload import Actor, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

#: Immutable over a whole search: the class, and what tells two of its objects apart.
CONSTANTS: Final[dict[type, Callable[[Any], object]]] = {
    Actor: lambda actor: actor.name,
    CostTable: lambda _: "",
    Counter: lambda _: "",
    File: lambda file: file.id,
    Map: lambda mapping: mapping.id,
    Release: lambda release: release.name,
    Slot: lambda slot: slot.id,
    SnpChoices: repr,
    Step: lambda step: step.ident,
    TdxChoices: repr,
    VmTable: lambda _: "",
    Workload: lambda _: "",
}

#: Attributes by class; a subclass leaves out what its bases do.
ATTRIBUTES: Final[dict[type, frozenset[str]]] = {
    Arch: frozenset({"costs"}),
    Engine: frozenset(
        {
            "at_failure", "cpus", "current", "exploring", "heap", "kept", "live", "max_steps", "now", "on_spawn",
            "on_step", "rec", "roots", "ruined", "runnable", "sequence", "steps", "strategy", "tape", "tasks",
            "touched", "wake_ns",
        }
    ),
    FineCore: frozenset({"paths"}),
    GuestResult: frozenset({"faults"}),
    FolioLock: frozenset({"_line"}),
    Kernel: frozenset({"costs", "release"}),
    Mutex: frozenset({"_spinners", "line_state"}),
    QueuedRwLock: frozenset({"line_state"}),
    LockClass: frozenset({"name", "read", "write"}),
    OpResult: frozenset({"began", "ended", "exits"}),
    Oracles: frozenset(
        {"_rest", "_seen", "_table", "events", "kernel", "notes", "rules", "skipped", "then", "without",
         "world"}
    ),
    Process: frozenset(),
    Psp: frozenset({"_engine", "costs"}),
    Rmp: frozenset({"costs"}),
    RwLockBase: frozenset({"_read", "_since", "_write", "line_ns", "line_state", "line_total"}),
    RwSemCore: frozenset({"paths"}),
    Session: frozenset(
        {
            "_locks_before", "_max_virtual_ns", "_rec", "_stamp", "_threads", "access_time", "checker", "counter",
            "engine", "keep_results", "patch", "release", "seed", "tasks", "until_rounds", "vm_type", "workload",
        }
    ),
    # The outcome of a run lists operations; what is derived from them, or only counted, tells states apart for nothing.
    TaskResults: frozenset({"exits", "faults", "outcomes"}),
    TdxModule: frozenset({"busy", "costs"}),
    Thread: frozenset({"actor", "began", "doing", "exits_before", "session", "vmm"}),
    Waiter: frozenset({"deadline", "spinning"}),
    World: frozenset({"next_message"}),
}  # fmt: skip

#: Functions whose outermost loop is there only to end some time (`scenarios.guest.EXIT_LIMIT`): how often it went round
#: is not state, so a guest that exits and re-enters for ever is a cycle, and its end by the limit is not reached.
_COUNTED: Final = frozenset({"access"})

#: Local variables by name of the function: numbers of messages and stamps, and counts of what happened so far.
_LOCALS: Final[dict[str, frozenset[str]]] = {
    "_fallocate": frozenset({"ident"}),
    "guest_accept": frozenset({"faults"}),
    "guest_access": frozenset({"faults"}),
    "guest_touch": frozenset({"faults"}),
    "kvm_arch_gmem_make_private": frozenset({"ident"}),
    "kvm_arch_vcpu_ioctl_run": frozenset({"faults"}),
    "kvm_gmem_populate": frozenset({"ident"}),
    "kvm_gmem_prepare_folio": frozenset({"ident"}),
    "kvm_mmu_faultin_pfn_of_kind": frozenset({"ident"}),
    "step": frozenset({"began"}),
}

_NOTHING: Final[frozenset[str]] = frozenset()


_PACKAGE: Final = f"{Path(__file__).parents[2]}/"


def locals_left_out(code: CodeType, name: str) -> frozenset[str]:
    """Local variables of a function that are no state; of a user's function of the same name all are."""
    ours = code.co_filename.startswith(_PACKAGE)
    return _LOCALS.get(name.rpartition(".")[2], _NOTHING) if ours else _NOTHING


def only_counts(code: CodeType, name: str) -> bool:
    """Whether the outermost loop of a function is there only to end some time."""
    return name in _COUNTED and code.co_filename.startswith(_PACKAGE)
