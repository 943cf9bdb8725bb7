"""What the result of one operation says of a page: which states of the sequential model lead to which.

`linearizability` says what is looked at, and what is left open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ...arch.memory import CIPHER, ZERO
from ...patches.inplace_v8 import InplaceV8
from ...scenarios import ops
from ...scenarios.results import FAILURES
from ...scenarios.thread import CALLS, filled
from .linearize import overlap
from .modelled import CONVERSIONS
from .page_model import Page, access, allocate, convert, forgets, host_access, maybe, punch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...actors.inode import GmemInode
    from ...actors.vm import Vm
    from ...scenarios.results import OpResult
    from ...scenarios.session import Session
    from ...scenarios.steps import Step


@attrs.frozen
class Place:
    """A page of a file, and where the guest sees it."""

    inode: GmemInode
    index: int
    vm: Vm
    gfn: int
    gmem_only: bool


def needs_conversion(place: Place, result: OpResult, step: Step) -> bool:
    """An exit for a memory fault of a single page, where the guest does not name the kind of access itself."""
    named = place.vm.arch.hardware_private and getattr(step.op, "private", None) is not None
    single = result.hi - result.lo == 1
    is_access = isinstance(step.op, (ops.Touch, ops.Read, ops.Write))
    return is_access and result.outcome == "exit_memory_fault" and single and not named


def effect_of(
    session: Session,
    place: Place,
    result: OpResult,
    step: Step,
    task: str,
    position: int,
    converts: list[tuple[int, int]],
) -> Callable[[Page], list[Page]] | None:
    """States that a page may be in behind an operation with this result; None: it says nothing of the page.

    Args:
        task: whose operation it was.
        position: of the page among those of the operation.
        converts: when conversions of the page began and ended.
    """
    op = step.op
    good = result.outcome == "ok"
    if isinstance(op, (ops.Touch, ops.Read, ops.Write)):
        return _guest(place, result, step, task, position, converts)
    if isinstance(op, (ops.HostTouch, ops.HostRead, ops.HostWrite)):
        seen = result.values[position] if result.values else None
        good = good if seen is None else seen not in FAILURES
        single = seen is not None or result.hi - result.lo == 1
        effect = access(True, good, single, seen, _stored(op, task, result, place.index))
        # Where allocations may fail, SIGBUS can mean that.
        refused = not session.engine.faults and "SIGBUS" in {seen, result.outcome if single else None}
        return host_access(good, refused, effect) if session.patch.in_place else effect
    keyed = place.vm.arch.hardware_private
    if isinstance(op, ops.Punch):
        return forgets(punch(result.outcome)) if keyed else punch(result.outcome)
    if isinstance(op, ops.Allocate):
        return allocate(result.outcome)
    if isinstance(op, ops.SetAttributes) and session.patch.in_place:
        return None  # the VM has no attributes then: the ioctl refuses, or does nothing
    if isinstance(op, CONVERSIONS):
        both = getattr(session.patch, "convert_filter", None) is InplaceV8.convert_filter
        spares = not (both and place.vm.arch.mirror_root)
        effect = convert(op.private, good, keyed=keyed, spares=spares, whole=len(place.vm.slots) == 1)
        if isinstance(op, ops.Hypercall) and place.vm.arch.guest_converts:
            # Its hypercall has the page faulted in first.
            return lambda page: [after for before in maybe(page) for after in effect(before)]
        return effect
    if isinstance(op, ops.Accept):
        return forgets(maybe)
    if isinstance(op, (ops.Prefault, ops.Pin)):
        return maybe
    return None


def _guest(
    place: Place,
    result: OpResult,
    step: Step,
    task: str,
    position: int,
    converts: list[tuple[int, int]],
) -> Callable[[Page], list[Page]]:
    seen = result.values[position] if result.values else None
    single = result.hi - result.lo == 1
    keyed = place.vm.arch.hardware_private
    read = seen is not None and (seen in {ZERO, CIPHER} or seen.startswith("data:"))
    good = result.outcome == "ok" or read
    needs = needs_conversion(place, result, step)
    if needs and not any(overlap(result, one) for one in converts):
        return lambda page: []
    inside: bool | None = True if place.gmem_only or not place.vm.arch.has_private_memory else None
    effect = access(
        inside,
        good,
        single or seen is not None,
        seen,
        _stored(step.op, task, result, place.gfn),
    )
    if keyed and not good:
        # It may have been accepted on the way, which on TDX zeroes it.
        effect = forgets(effect)
    return effect


def _stored(op: Any, task: str, result: OpResult, page: int) -> str | None:
    """The token that it stores."""
    for name in ("value", "write"):
        text = getattr(op, name, None)
        if text is not None:
            return filled(text, task, result.call // CALLS, page)
    return None
