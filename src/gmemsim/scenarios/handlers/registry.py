"""Which coroutine executes which operation, and the shapes of what they return.

A handler is called with the thread, its task, the step and the pages of this round.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from ...actors.errno import EBADF, EIO, errno_name
from ..results import Outcome
from ..tables import VMM
from ..units import PAGE

if TYPE_CHECKING:
    from collections import Counter

    from ...engine.task import Task
    from ..ops import Op
    from ..steps import Step

#: Of thread, task, step and pages [lo, hi); what `Thread` is, it knows itself.
Handler = Callable[..., Awaitable[Outcome]]

#: Filled by the modules of this folder.
HANDLERS: dict[type[Op], Handler] = {}

OK: Final = Outcome("ok")


def handles(*kinds: type[Op]) -> Callable[[Handler], Handler]:
    """Decorator: this coroutine executes operations of `kinds`."""

    def register(function: Handler) -> Handler:
        for kind in kinds:
            HANDLERS[kind] = function
        return function

    return register


def vm_ioctl(function: Handler) -> Handler:
    """Decorator, below `handles`: an ioctl of the VM's descriptor, which a fork copies.

    `kvm_vm_ioctl` refuses every process but the one that made the VM (-EIO), whatever it asks. One that was not forked
    yet, or has ended, has no descriptor.
    """

    @wraps(function)
    async def checked(thread: Any, t: Task, step: Step, lo: int, hi: int) -> Outcome:
        process = thread.actor.process
        if process != VMM:
            return from_errno(EIO if process in thread.machine.children else EBADF)
        return await function(thread, t, step, lo, hi)

    return checked


def from_errno(ret: int) -> Outcome:
    """The outcome of a call that returns 0 or a negative errno."""
    return Outcome("ok" if ret == 0 else errno_name(ret))


def in_bytes(op: Op, lo: int, hi: int) -> tuple[int, int]:
    """The range of a call in bytes, first and how many: as given, or that of its pages."""
    for first, many in (("offset", "length"), ("address", "size")):
        given = getattr(op, first, None), getattr(op, many, None)
        if None not in given:
            return given  # type: ignore[return-value]
    return lo * PAGE, (hi - lo) * PAGE


def of_pages(outcomes: Counter[str], values: list[str]) -> Outcome:
    """The outcome of an operation on pages: the first that is not `ok`, and how often each."""
    first = next((outcome for outcome in outcomes if outcome != "ok"), "ok")
    return Outcome(first, tuple(values), tuple(outcomes.items()))
