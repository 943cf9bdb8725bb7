"""Which coroutine carries out which operation of a vector, and which arguments it understands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import attrs

from ...actors.errno import errno_name
from .results import Got

if TYPE_CHECKING:
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__ = ["OPS", "Operation", "from_errno", "op"]

Runner = Callable[["Rig", "Task", "Step"], Awaitable[Got]]


@attrs.frozen
class Operation:
    """One operation: its coroutine, and the arguments that it knows. Any other argument makes a step unsupported."""

    run: Runner
    args: frozenset[str]


#: Filled by the modules of this folder.
OPS: Final[dict[str, Operation]] = {}


def op(name: str, *args: str) -> Callable[[Runner], Runner]:
    """Decorator: this coroutine is operation `name` and understands `args`."""

    def register(function: Runner) -> Runner:
        OPS[name] = Operation(function, frozenset(args))
        return function

    return register


def from_errno(ret: int) -> Got:
    """0 is `ok`, a negative errno its name."""
    return Got("ok" if ret == 0 else errno_name(ret))
