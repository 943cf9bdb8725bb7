"""Which coroutine makes operations of scenarios of which operation of a vector."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .arguments import ARGUMENTS, Args
from .results import Got

if TYPE_CHECKING:
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

_A = TypeVar("_A", bound=Args)
Runner = Callable[["Rig", "Task", "Step", _A], Awaitable[Got]]

#: Filled by the modules of this folder; by the struct of its arguments.
OPS: Final[dict[type[Args], Runner[Any]]] = {}


def op(kind: type[_A]) -> Callable[[Runner[_A]], Runner[_A]]:
    """Decorator: this coroutine is the operation whose arguments are a `kind`."""
    assert kind in ARGUMENTS.values()

    def register(function: Runner[_A]) -> Runner[_A]:
        OPS[kind] = function
        return function

    return register
