"""What the modelled versions themselves get wrong, as the oracles and the engine found it: workloads and schedules.

Each is a statement about the model, which follows the spec's steps; whether real kernels of that age do the same
is an inference from those steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from gmemsim.actors.release import RELEASES
from gmemsim.patches.registry import PATCHES

from .workloads import Machine, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemInode
    from gmemsim.actors.kernel import Kernel
    from gmemsim.engine.task import Task

__all__ = ["FINDINGS", "Finding", "without_abba"]


def without_abba(cls: type[Kernel]) -> type[Kernel]:
    """The version with one repair: the folio lock is dropped around the error hook (see `poison-punch-abba`)."""

    class Repaired(cls):  # type: ignore[misc, valid-type] # the base is a value
        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            await self.folio_unlock(t, folio)
            await super().kvm_gmem_error_folio(t, inode, folio)
            await folio.lock.lock(t)

    return Repaired


@attrs.frozen
class Finding:
    """One of them.

    Attributes:
        name: for the reader.
        shows: rules of the oracles, or the engine's error; any of them, with spaces between.
        says: the race in a sentence or two.
        patches: versions that have it.
        plan: workload.
        make: machine for a patch version.
        seeds: random schedules within which it shows in each of the versions.
    """

    name: str
    shows: str
    says: str
    patches: tuple[str, ...]
    plan: Plan
    make: Callable[[type[Kernel]], Machine]
    seeds: int


def _private(cls: type[Kernel]) -> Machine:
    return Machine(cls, "private", pages=1)


def _old(cls: type[Kernel]) -> Machine:
    return Machine(cls, "private", pages=1, release=RELEASES["6.12"])


def _two_files(cls: type[Kernel]) -> Machine:
    machine = Machine(cls, "private", pages=1)
    machine.add_vm("vm1", "private", 1, share=machine.inode)
    return machine


def _mapped(cls: type[Kernel]) -> Machine:
    machine = Machine(cls, "shared", pages=1)
    machine.run(Plan([("access", 0, 0, 0, False)]))
    return machine


_ALL = tuple(PATCHES)
_TO_7_2 = tuple(patch for patch in _ALL if patch != "mainline-7.3")
#: Versions whose get_pfn hands out no page that KVM could mark dirty: only there is a mapped page ever evicted.
_CLEAN = ("inplace", "inplace-off")

FINDINGS = (
    Finding(
        "poison-punch-abba",
        "Deadlock",
        "memory_failure calls the error hook with the folio locked, and the hook takes the invalidate lock shared; "
        "PUNCH_HOLE holds that lock exclusively and waits for the folio lock (§4.11 against §4.5, §6 rule 3)",
        _ALL,
        Plan([("fallocate", 0, 0, 1, False), ("fail", 0, 0)], [("fallocate", 0, 0, 1, True)]),
        _private,
        50,
    ),
    Finding(
        "poison-unbind-unbalanced",
        "I15 use_after_free",
        "the error hook holds the invalidate lock but no reference of the file: while it is between start and end, "
        "the deletion of a slot of the dying file clears the binding without that lock, and the end finds nothing "
        "bound. in_progress stays up for ever, or the hook still uses the slot when it is freed (read in 6.12.107 and "
        "7.2.13, seen on 6.18.15 and 7.2.13; 7.3 takes the lock always)",
        _TO_7_2,
        Plan([("fallocate", 0, 0, 1, False), ("fail", 0, 0)], [("close", 0)], [("delete", 0, 0)]),
        _private,
        1000,
    ),
    Finding(
        "punch-unbind-unbalanced",
        "I15 use_after_free",
        "the same without a memory error, where two VMs have files of one inode (which no ioctl can make yet): "
        "PUNCH_HOLE through one file, while the other file is dying and its slot is deleted",
        _TO_7_2,
        Plan([("fallocate", 0, 0, 1, True)], [("close", 1)], [("delete", 1, 0)]),
        _two_files,
        1000,
    ),
    Finding(
        "poison-evict-mapped",
        "I19",
        "memory_failure sets the poison bit before it takes its reference; a host fault in between finds the page "
        "poisoned and unreferenced and evicts it from the page cache, and nobody zaps the SPTE that maps it: the "
        "hook that would have does not run for a folio that is gone; elsewhere the page that KVM mapped is dirty",
        _CLEAN,
        Plan([("fail", 0, 0)], [("touch", 0, 0, False)]),
        _mapped,
        200,
    ),
    Finding(
        "prefault-delete-livelock",
        "StepLimit",
        "before 6.18 a pre-fault of a slot that is being deleted retries inside its SRCU section, which the "
        "deletion waits for: neither ends without a signal (§4.6 step 4, pre-fault rule b)",
        ("baseline",),
        Plan([("prefault", 0, 0, 0, 1)], [("delete", 0, 0)]),
        _old,
        50,
    ),
)
