"""Which functions of a user's patch ran: those that never did are said beside a verdict.

A function that was not entered yet is stood in for by one that notes the first call, puts the original back and goes on
with it. So a function costs one call more in its life, and nothing afterwards.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from .overrides import own_functions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType

    from ..actors.kernel import Kernel

__all__ = ["Entered", "never_ran", "watch_overrides"]


@attrs.frozen
class Entered:
    """The functions of a user's classes, and those that ran, by name.

    Attributes:
        functions: in the order of the file.
        ran: filled while it is watched.
    """

    functions: tuple[str, ...]
    ran: set[str] = attrs.field(factory=set)

    @property
    def never(self) -> tuple[str, ...]:
        """Those that did not run."""
        return tuple(name for name in self.functions if name not in self.ran)


_watching: list[Entered] = []


@contextmanager
def watch_overrides(*classes: type[Kernel]) -> Iterator[Entered]:
    """Note which functions of the classes are entered in the block; of a version of ours there are none."""
    own = [each for cls in classes for each in own_functions(cls)]
    entered = Entered(tuple(dict.fromkeys(name for _, name, _ in own)))
    for owner, name, function in own:
        _arm(owner, name, function)
    _watching.append(entered)
    try:
        yield entered
    finally:
        _watching.remove(entered)


def _arm(owner: type, name: str, function: FunctionType) -> None:
    value = vars(owner)[name]
    shown = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if hasattr(shown, "stands_for"):
        return

    @functools.wraps(function)
    def first(*args: Any, **options: Any) -> Any:
        setattr(owner, name, value)
        for entered in _watching:
            entered.ran.add(name)
        return function(*args, **options)

    first.__dict__["stands_for"] = function
    stand_in: Any = first
    if isinstance(value, property):
        stand_in = property(first, value.fset, value.fdel)
    elif isinstance(value, (staticmethod, classmethod)):
        stand_in = type(value)(first)
    setattr(owner, name, stand_in)


def never_ran(names: tuple[str, ...], runs: str) -> str:
    """One line for people; empty if all ran.

    Args:
        runs: in what (`2,000 schedules`).
    """
    if not names:
        return ""
    return f"Your {', '.join(f'`{name}`' for name in names)} never ran in {runs}."
