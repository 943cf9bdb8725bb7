"""Whether what a search ran of one version is, definition by definition, what another version has.

Versions of a series differ in a few functions each. A search that entered none of those, and read no value that
differs, is step by step the search of the other version: its answer is the other's too, and need not be asked again.
What was entered and read is noted while the search runs; it is not guessed from sources.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any, Final

import attrs

from ...actors.release import RELEASES, Release
from ...patches.inplace_v8 import InplaceV8
from ...patches.sources import function_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FunctionType

    from ...actors.kernel import Kernel

    #: Of a function, and what it was made with.
    _Code = tuple[CodeType, str]

#: What a version is called is told to no step, and its release is looked at field by field. What failure is a known
#: finding depends on the name (`registered_name`), which finds it where it stands: nothing stands in for these.
_NO_STEP: Final = frozenset({"name", "default_release"})
_ABSENT: Final = object()
_DATA: Final = (bool, int, float, str, tuple, list, dict, set, frozenset)


@attrs.frozen
class Touched:
    """What runs of a version entered and read, filled while it is watched.

    Attributes:
        entered: class and name of each definition that was entered.
        read: values of the class, by name.
        missed: names that were asked for and that the version does not have.
        release: fields of its release.
    """

    entered: set[tuple[type, str]] = attrs.field(factory=set)
    read: set[str] = attrs.field(factory=set)
    missed: set[str] = attrs.field(factory=set)
    release: set[str] = attrs.field(factory=set)


@contextmanager
def touching(cls: type[Kernel]) -> Iterator[Touched]:
    """Note what is entered and read of the version in the block; each is noted once, and costs nothing afterwards."""
    noted = Touched()
    undo: dict[tuple[type, str], Any] = {}

    def stand_in(owner: type, name: str, value: Any) -> None:
        undo[owner, name] = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)

    def put_back(owner: type, name: str) -> None:
        value = undo.pop((owner, name), None)
        if value is _ABSENT:
            delattr(owner, name)
        elif value is not None:
            setattr(owner, name, value)

    for owner in cls.__mro__[:-1]:
        for name, value in list(vars(owner).items()):
            function = function_of(value)
            if function is not None and (name == "__init__" or not name.startswith("__")):
                stand_in(owner, name, _first_call(owner, name, value, noted, put_back))
    for name in _values(cls):
        held = _held(cls, name)
        note = _note(noted.read, cls, name, put_back)
        stand_in(cls, name, _Noted(note, partial(_constant, held)))
    for name, member in [(each.name, vars(Release)[each.name]) for each in attrs.fields(Release)]:
        note = _note(noted.release, Release, name, put_back)
        stand_in(Release, name, _NotedSlot(note, member))
    if not hasattr(cls, "__getattr__"):

        def missing(self: Any, name: str) -> Any:
            noted.missed.add(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        stand_in(cls, "__getattr__", missing)
    try:
        yield noted
    finally:
        for owner, name in list(undo):
            put_back(owner, name)


class _Noted:
    """A value that notes its first reading; no data descriptor, so that an object's own value is before it."""

    def __init__(self, note: Callable[[], None], value: Callable[[Any, Any], Any]) -> None:
        self.note = note
        self.value = value

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        self.note()
        return self.value(instance, owner)


class _NotedSlot(_Noted):
    """The same of a slot, which a mend may fill in a release of its own (`attrs.evolve`)."""

    def __init__(self, note: Callable[[], None], member: Any) -> None:
        super().__init__(note, member.__get__)
        self.member = member

    def __set__(self, instance: Any, value: Any) -> None:
        self.member.__set__(instance, value)


def _constant(value: Any, *_: Any) -> Any:
    return value


def _note(
    names: set[str], owner: type, name: str, put_back: Callable[[type, str], None]
) -> Callable[[], None]:
    def note() -> None:
        names.add(name)
        put_back(owner, name)

    return note


def _first_call(
    owner: type, name: str, value: Any, noted: Touched, put_back: Callable[[type, str], None]
) -> Any:
    shown: Any = value.fget if isinstance(value, property) else getattr(value, "__func__", value)

    @wraps(shown)
    def first(*args: Any, **options: Any) -> Any:
        put_back(owner, name)
        noted.entered.add((owner, name))
        return shown(*args, **options)

    first.__dict__.update(stands_for=shown)
    if isinstance(value, property):
        return property(first, value.fset, value.fdel)
    return type(value)(first) if isinstance(value, (staticmethod, classmethod)) else first


def same(
    touched: Touched,
    cls: type[Kernel],
    other: type[Kernel],
    releases: tuple[str | None, str | None] = (None, None),
) -> bool:
    """Whether all that was touched of `cls` is so in `other`.

    Args:
        releases: on which the two were asked; None: on the version's own.
    """
    if cls.huge_pages != other.huge_pages or issubclass(cls, InplaceV8) != issubclass(other, InplaceV8):
        # Their scenarios are others, and some steps of scenarios and rules ask which of these a version derives from.
        return False
    here, there = (
        RELEASES[release or version.default_release]
        for version, release in zip((cls, other), releases, strict=True)
    )
    return (
        all(getattr(here, name) == getattr(there, name) for name in touched.release - {"name"})
        and all(_held(cls, name) == _held(other, name) for name in touched.read)
        and not any(hasattr(other, name) for name in touched.missed)
        and all(_alike(touched, cls, other, name) for name in {name for _, name in touched.entered})
    )


def _alike(touched: Touched, cls: Any, other: Any, name: str) -> bool:
    """The definitions of a name as far as they were entered, nearest first, are the first of the other's."""
    chain = _chain(cls, name)
    entered = [place for place, (owner, _) in enumerate(chain) if (owner, name) in touched.entered]
    count = entered[-1] + 1
    return [code for _, code in chain[:count]] == [code for _, code in _chain(other, name)[:count]]


@cache
def _chain(cls: Any, name: str) -> list[tuple[type, frozenset[_Code]]]:
    """Classes that define it, nearest first, each with its code: of a function by file (`by_file`), that of both."""
    found: list[tuple[type, frozenset[_Code]]] = []
    for owner in cls.__mro__[:-1]:
        codes = frozenset(_codes(vars(owner).get(name)))
        if codes:
            found.append((owner, codes))
    return found


def _codes(value: Any) -> Iterator[_Code]:
    function: FunctionType | None = function_of(value)
    if function is not None:
        # Data that a function which makes several mends is given (`on_release`): their code is one.
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        yield function.__code__, repr([each for each in cells if isinstance(each, _DATA)])
    while value is not None:
        yield from _codes(getattr(value, "otherwise", None))
        value = getattr(value, "stands_for", None)


def _values(cls: type[Kernel]) -> list[str]:
    """Names of values of the class: neither functions nor what else has a getter."""
    return [
        name
        for name in dir(cls)
        if not name.startswith("__")
        and name not in _NO_STEP
        and name != "_abc_impl"
        and not hasattr(_held(cls, name), "__get__")
    ]


def _held(cls: type[Kernel], name: str) -> Any:
    return next((vars(owner)[name] for owner in cls.__mro__ if name in vars(owner)), None)
