"""Shared state that says itself who reads and changes it.

Partial-order reduction must know everything that a step touches. What a step announces (`Task.point`) is written
where the kernel does something; what it touches besides was written by hand, a line before each access, and a line
that somebody forgets, in the model or in a user's patch, makes a search that is not complete say that it is. So the
fields that steps share are declared once, in the class that has them, and the class announces each access:

    @announces(uptodate=lambda folio: (folio.uptodate_label, folio.index, folio.index + folio.pages))
    class Folio: ...

Only a search that asks for footprints pays for it: the fields become properties when the first such search of the
process starts (`install`), and stay attributes for everybody else. What a container holds is not seen, only that it is
read: who changes it says so (`Task.changed`).

Prior art: Shuttle's and loom's atomics, which are cells of the tool's own; CHESS and Nidhugg, which see every access
because they instrument machine code. Python's attributes are looked up by name, so a data descriptor does here what
instrumentation does there, and model code reads as the kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from .op import Op

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STEP", "announces", "install"]

_C = TypeVar("_C", bound=type)

_declared: Final[list[tuple[type, str, Callable[[Any], tuple[str, int, int]]]]] = []


class _Step:
    """The step under way.

    Attributes:
        touched: where accesses are announced; None while no step runs, or nobody asks.
    """

    __slots__ = ("touched",)

    def __init__(self) -> None:
        self.touched: list[Op] | None = None


STEP: Final = _Step()


def announces(**fields: Callable[[Any], tuple[str, int, int]]) -> Callable[[_C], _C]:
    """Declare fields of a class that announce who reads or sets them, and as what."""

    def declare(cls: _C) -> _C:
        _declared.extend((cls, name, where) for name, where in fields.items())
        return cls

    return declare


def install() -> None:
    """Have every declared field announce its accesses from now on."""
    while _declared:
        cls, name, where = _declared.pop()
        setattr(cls, name, _property(vars(cls).get(name), name, where))


def _property(slot: Any, name: str, where: Callable[[Any], tuple[str, int, int]]) -> property:
    if slot is None:

        def read(owner: Any) -> Any:
            return vars(owner)[name]

        def write(owner: Any, value: Any) -> None:
            vars(owner)[name] = value

        def is_set(owner: Any) -> bool:
            return name in vars(owner)

    else:
        read, write = slot.__get__, slot.__set__

        def is_set(owner: Any) -> bool:
            try:
                read(owner)
            except AttributeError:
                return False
            return True

    def get(owner: Any) -> Any:
        touched = STEP.touched
        if touched is not None:
            touched.append(Op("load", *where(owner), "r"))
        return read(owner)

    def put(owner: Any, value: Any) -> None:
        touched = STEP.touched
        # An object that is being made is nobody else's yet.
        if touched is not None and is_set(owner):
            touched.append(Op("rmw", *where(owner)))
        write(owner, value)

    return property(get, put)
