"""Shared state that says itself who reads and changes it.

Partial-order reduction must know everything that a step touches. What a step announces (`Task.point`) is written where
the kernel does something; what it touches besides would be a line by hand before each access, and a line that somebody
forgets, in the model or in a user's patch, makes a search that is not complete say that it is. So shared state is
declared once, in the class that has it, and announces each access by itself. There are three sorts:

* a field: reading it is a read, setting it a change;
* a field that holds a `dict`, `set` or `list` (`by_key`, `whole`): what is done to the container counts, for the key
  that it is done to where the declaration says which range a key stands for;
* a method of a class that keeps its containers to itself (`reads`, `changes`): it says which range it is about, and
  speaks for all that it does to state.

    @announces(
        uptodate=lambda folio: (folio.uptodate_label, folio.index, folio.index + folio.pages),
        mapped=by_key(lambda mapping: mapping.label),
    )
    class ...:
        @reads(lambda memory, pfn: (FRAMES, pfn, pfn + 1))
        def read(self, pfn: int) -> str: ...

Only a search that asks for footprints pays for it: fields become descriptors and methods are wrapped when the first
such search of the process starts (`install`), and stay what they are for everybody else. A container is the plain one
then, too; only a step that is asked gets it as a view that announces (`observed_containers`).

Prior art: Shuttle's and loom's atomics, which are cells of the tool's own; CHESS and Nidhugg, which see every access
because they instrument machine code. Python's attributes are looked up by name, so a data descriptor does here what
instrumentation does there, and model code reads as the kernel's.
"""

from __future__ import annotations

from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from .observed_containers import STEP, Content, declared_containers, observed
from .op import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from .op import Mode

    #: Object and range that an access is to.
    Place = tuple[str, int, int]
    #: The same for an owner, and the arguments of a method: one, several, or none where nothing shared is touched.
    Where = Callable[..., Place | list[Place] | None]
    #: Of a field.
    Field = Callable[[Any], Place] | Content


_C = TypeVar("_C", bound=type)
_F = TypeVar("_F", bound="Callable[..., Any]")


class Method(NamedTuple):
    """A method that announces what it is about."""

    mode: Mode
    where: Where


#: What was declared, by class and name; a test asks.
declared_fields: Final[dict[tuple[type, str], Field]] = {}
declared_methods: Final[dict[tuple[type, str], Method]] = {}
_NO_VALUE: Final = property()
_waiting: Final[list[tuple[type, str]]] = []


def by_key(
    label: Callable[[Any], str], span: Callable[[Any], tuple[int, int]] = lambda key: (key, key + 1)
) -> Content:
    """The field holds a container whose keys or members are ranges of the object `label`, [key, key + 1) by default."""
    return Content(lambda owner: (label(owner), 0, ALL), span)


def whole(where: Callable[[Any], Place]) -> Content:
    """The field holds a container, and whatever is done to it is about the same object and range."""
    return Content(where, None)


def announces(**fields: Field) -> Callable[[_C], _C]:
    """Declare fields of a class that announce who reads or sets them, and as what.

    Raises:
        TypeError: the class has a value of that name, which would hide what an object has.
    """

    def declare(cls: _C) -> _C:
        for name, where in fields.items():
            if not hasattr(vars(cls).get(name, _NO_VALUE), "__set__"):
                raise TypeError(
                    f"{cls.__qualname__}.{name} is a value of the class and cannot announce itself"
                )
            declared_fields[cls, name] = where
            _waiting.append((cls, name))
        return cls

    return declare


def reads(where: Where) -> Callable[[_F], _F]:
    """Declare a method that only looks at the range that `where` answers for its arguments."""

    def declare(function: _F) -> _F:
        return cast("_F", _Declared(function, Method("r", where)))

    return declare


def changes(where: Where) -> Callable[[_F], _F]:
    """Declare a method that may change it."""

    def declare(function: _F) -> _F:
        return cast("_F", _Declared(function, Method("w", where)))

    return declare


class _Declared:
    """Stands for a declared method until its class is made, and leaves the plain function there.

    Raises:
        TypeError: a coroutine, which is no part of one step.
    """

    def __init__(self, function: Callable[..., Any], method: Method) -> None:
        if iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is more than one step and cannot announce itself")
        self._function = function
        self._method = method

    def __set_name__(self, cls: type, name: str) -> None:
        setattr(cls, name, self._function)
        declared_methods[cls, name] = self._method
        declared_containers.add(cls)
        _waiting.append((cls, name))


def install() -> None:
    """Have all that was declared announce its accesses from now on."""
    while _waiting:
        cls, name = _waiting.pop()
        method = declared_methods.get((cls, name))
        if method is not None:
            setattr(cls, name, _announcing(vars(cls)[name], method))
        else:
            setattr(cls, name, _announced(vars(cls).get(name), name, declared_fields[cls, name]))


def _announcing(function: Callable[..., Any], method: Method) -> Callable[..., Any]:
    mode, where = method
    kind: Final = "load" if mode == "r" else "rmw"

    @wraps(function)
    def announce(*args: Any, **named: Any) -> Any:
        touched = STEP.touched
        if touched is None:
            return function(*args, **named)
        place = where(*args, **named)
        if isinstance(place, list):
            touched.extend(Op(kind, obj, low, high, mode) for obj, low, high in place)
        elif place is not None:
            obj, low, high = place
            touched.append(Op(kind, obj, low, high, mode))
        STEP.touched = None
        try:
            return function(*args, **named)
        finally:
            STEP.touched = touched

    return announce


def _announced(slot: Any, name: str, where: Field) -> Any:
    """A data descriptor in place of a slot, or over the `__dict__`; no property, which is somebody's function."""
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

    if isinstance(where, Content):
        content = where

        def get(self: Any, owner: Any, cls: type | None = None) -> Any:
            if owner is None:
                return self
            value = read(owner)
            return value if STEP.touched is None else observed(value, owner, content)

        place = content.where

    else:
        place = where

        def get(self: Any, owner: Any, cls: type | None = None) -> Any:
            if owner is None:
                return self
            touched = STEP.touched
            if touched is not None:
                touched.append(Op("load", *place(owner), "r"))
            return read(owner)

    def put(self: Any, owner: Any, value: Any) -> None:
        touched = STEP.touched
        # An object that is being made is nobody else's yet.
        if touched is not None and is_set(owner):
            touched.append(Op("rmw", *place(owner)))
        write(owner, value)

    return type("Announced", (), {"__slots__": (), "__get__": get, "__set__": put})()
