"""Shared cells: a word of memory that several tasks read and write, each access a step of its own.

A read-modify-write that the kernel does atomically is `rmw`; one that it does as load and store must be written
as two calls, so that another task can get in between. Memory is sequentially consistent: weak ordering is
outside the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from .observed import announces
from .op import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from .task import Task

T = TypeVar("T")


@announces(value=lambda cell: (cell.label, 0, ALL))
class Cell(Generic[T]):
    """One shared word.

    Attributes:
        value: the content; who reads or sets it directly does so within the step under way.
    """

    __slots__ = ("_load", "_rmw", "_store", "label", "value")

    def __init__(self, label: str, value: T) -> None:
        self.label = label
        self.value = value
        self._load = Op("load", label, mode="r")
        self._store = Op("store", label)
        self._rmw = Op("rmw", label)

    async def load(self, t: Task) -> T:
        """`READ_ONCE`."""
        if t.traps:
            await t.point(self._load)
        return self.value

    async def store(self, t: Task, value: T) -> None:
        """`WRITE_ONCE`."""
        if t.traps:
            await t.point(self._store)
        self.value = value

    async def rmw(self, t: Task, function: Callable[[T], T]) -> T:
        """An atomic read-modify-write; returns the new value."""
        if t.traps:
            await t.point(self._rmw)
        self.value = value = function(self.value)
        return value


@announces(value=lambda count: (count.label, 0, ALL))
class RefCount:
    """`refcount_t`: never revives from 0, never goes below."""

    __slots__ = ("_rmw", "label", "value")

    def __init__(self, label: str, value: int = 1) -> None:
        self.label = label
        self.value = value
        self._rmw = Op("rmw", label)

    async def inc_not_zero(self, t: Task) -> bool:
        """`refcount_inc_not_zero`: False when the object is already dying."""
        if t.traps:
            await t.point(self._rmw)
        if self.value == 0:
            return False
        self.value += 1
        return True

    async def dec_and_test(self, t: Task) -> bool:
        """`refcount_dec_and_test`: True for the caller that dropped the last reference.

        Raises:
            ModelError: the count was 0 already.
        """
        if t.traps:
            await t.point(self._rmw)
        if self.value <= 0:
            from .errors import ModelError

            raise ModelError(f"{t.name} drops a reference of {self.label} that nobody holds")
        self.value -= 1
        return self.value == 0
