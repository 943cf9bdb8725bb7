"""How the content of an object is read and written, by class, and what has no content to look after."""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from contextlib import suppress
from enum import Enum
from functools import partial
from itertools import repeat
from operator import attrgetter
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, Final

from ...engine.engine import Engine
from ...engine.locks.rwsem_core import RwSemCore
from ...engine.locks.rwsem_stats import PathCounters
from ...engine.locks.stats import LockStatistics, ModeStatistics
from ...engine.op import Op
from ...engine.tape import Tape
from ...engine.task import Task
from .ignored import CONSTANTS
from .iterators import NotRestorable

if TYPE_CHECKING:
    from collections.abc import Callable

#: Values without an identity that matters.
ATOMS: Final = (
    type(None), bool, int, str, float, complex, bytes, Enum, range, slice, type, ModuleType, CodeType,
    MethodDescriptorType, WrapperDescriptorType, FrameType, Op,
)  # fmt: skip
_STATISTICS: Final = frozenset({LockStatistics, ModeStatistics, PathCounters, Tape})
_FOREVER: Final = tuple(CONSTANTS)

#: Of the engine: what changes, and belongs to the run. Its lists and dicts are never replaced, and are objects of
#: their own (`Heap` takes them in by name).
_ENGINE: Final = ("current", "live", "now", "sequence", "steps", "touched", "workers")
#: Of a task: what is as it was when the task was made.
_TASK_KEEPS: Final = frozenset({"daemon", "engine", "handle", "ident", "name", "rec", "send"})

#: Plain values; a subclass of one can have attributes beside.
PLAIN: Final = (int, str, float, complex, bytes)


def has_more_than_its_value(cls: type) -> bool:
    """Whether objects of a class are plain values with attributes."""
    return issubclass(cls, PLAIN) and not issubclass(cls, Enum) and cls.__dictoffset__ != 0


def plain_text(value: Any) -> str:
    """What such a value is without its attributes, whatever its class says of itself."""
    for base in PLAIN:
        if isinstance(value, base):
            return str(base.__repr__(value))
    raise TypeError(f"{value.__class__.__name__} is no plain value")


#: Stands for an attribute that is not set.
UNSET: Final = type("UNSET", (), {"__slots__": ()})()


QUICK: Final = frozenset({type(None), bool, int, str, float, bytes, type, Op})


#: Written in C, and yet all of an object is in its items and attributes, or never changes.
_SHOWN: Final = (object, dict, list, set, deque, tuple, frozenset, SimpleNamespace)
_WORD: Final = tuple.__itemsize__


def hides(cls: type) -> bool:
    """Whether objects of a class have, from a base that is written in C, a content that no attribute shows.

    That is, whether they are larger than what their slots take.
    """
    return not hasattr(cls, "__struct_fields__") and any(map(_has_more, cls.__mro__))


def _has_more(base: type) -> bool:
    if base in _SHOWN or issubclass(base, BaseException) or base.__base__ is None:
        return False
    own = vars(base)
    slots = own.get("__slots__", ())
    names = {slots} if isinstance(slots, str) else set(slots)
    # Where an interpreter keeps these two elsewhere, they take nothing, and so much more is let pass.
    names = (names - {"__dict__", "__weakref__"}) | ({"__dict__", "__weakref__"} & own.keys())
    return base.__basicsize__ - base.__base__.__basicsize__ > _WORD * len(names)


#: Of an exception: how it came about, which a program does not ask.
_OF_RAISING: Final = frozenset({"__context__", "__dict__", "__suppress_context__", "__traceback__"})


def own_slots(cls: type) -> list[str]:
    """Names of the attributes for which a class itself has slots; private ones as Python calls them.

    A built-in exception has `args` and the like instead.
    """
    if issubclass(cls, BaseException) and cls.__module__ == "builtins":
        shown = (MemberDescriptorType, GetSetDescriptorType)
        return [
            name for name, value in vars(cls).items() if isinstance(value, shown) and name not in _OF_RAISING
        ]
    own = vars(cls).get("__slots__", ())
    prefix = f"_{cls.__name__.lstrip('_')}"
    return [
        prefix + name if name.startswith("__") and not name.endswith("__") else name
        for name in ((own,) if isinstance(own, str) else own)
    ]


def slots_of(cls: type) -> tuple[str, ...]:
    """Names of all slots of a class; of a msgspec struct, its fields."""
    names: list[str] = list(getattr(cls, "__struct_fields__", ()))
    for base in cls.__mro__:
        names += own_slots(base)
    return tuple(dict.fromkeys(name for name in names if name not in ("__dict__", "__weakref__")))


def is_fixed(cls: type) -> bool:
    """Whether objects of a class refuse to be changed."""
    config = getattr(cls, "__struct_config__", None)
    if config is not None:
        return bool(config.frozen)
    # attrs names the method after what it does.
    return hasattr(cls, "__attrs_attrs__") and "frozen" in getattr(cls.__setattr__, "__name__", "")


class Kind:
    """How objects of one class are read and written; a `__dict__` beside that is an object of its own.

    Attributes:
        read: called with `target(value)`, gives the content as a tuple.
        target: what `read` is called with.
        put: writes a content.
        fixed: objects never change: read once.
        names: of the attributes that the content is made of; empty for a container.
        pairs: the content is made of pairs: the items of a dict, and behind them the attributes in `slots`, by name.
        whole: there is nothing beside the content.
    """

    __slots__ = ("fixed", "names", "pairs", "plain", "put", "read", "slots", "target", "whole")

    def __init__(
        self,
        read: Callable[[Any], tuple[Any, ...]],
        put: Callable[[Any, tuple[Any, ...]], None],
        target: Callable[[Any], Any] | None = None,
        *,
        fixed: bool = False,
        names: tuple[str, ...] = (),
        pairs: bool = False,
        slots: tuple[str, ...] = (),
        plain: bool = True,
        whole: bool = False,
    ) -> None:
        self.read = read
        self.put = put
        self.target = target
        self.fixed = fixed
        self.names = names
        self.pairs = pairs
        self.slots = slots
        self.plain = plain
        self.whole = whole

    @property
    def is_empty(self) -> bool:
        """There is nothing to read: a `__dict__` has all."""
        return self.read is _read_nothing


def _put_list(value: Any, content: tuple[Any, ...]) -> None:
    list.__setitem__(value, slice(None), content)


def _put_deque(value: Any, content: tuple[Any, ...]) -> None:
    deque.clear(value)
    deque.extend(value, content)


def _put_set(value: Any, content: tuple[Any, ...]) -> None:
    set.clear(value)
    set.update(value, content)


def _put_dict(value: Any, content: tuple[Any, ...]) -> None:
    dict.clear(value)
    for key, item in content:
        dict.__setitem__(value, key, item)


def _put_array(value: Any, content: tuple[Any, ...]) -> None:
    value[:] = array(value.typecode, content)


def _read_cell(cell: Any) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return (UNSET,)


def _put_cell(cell: Any, content: tuple[Any, ...]) -> None:
    if content[0] is UNSET:
        with suppress(ValueError):
            del cell.cell_contents
    else:
        cell.cell_contents = content[0]


def _put_nothing(value: Any, content: tuple[Any, ...]) -> None:
    """Nothing of it changes."""


def items(value: Any) -> Any:
    return dict.items(value)


def _read_nothing(value: Any) -> tuple[Any, ...]:
    return ()


def parts_of_function(value: FunctionType) -> tuple[Any, ...]:
    """What a function refers to: cells, defaults, and attributes if it has some."""
    return (
        *(value.__closure__ or ()),
        *(value.__defaults__ or ()),
        *(value.__kwdefaults__ or {}).values(),
        *((value.__dict__,) if value.__dict__ else ()),
    )


_BUILT_IN: Final[dict[type, Kind]] = {
    list: Kind(tuple, _put_list, whole=True),
    deque: Kind(tuple, _put_deque, whole=True),
    set: Kind(tuple, _put_set, whole=True),
    dict: Kind(tuple, _put_dict, items, pairs=True, whole=True),
    CellType: Kind(_read_cell, _put_cell, whole=True),
    array: Kind(tuple, _put_array, whole=True),
    partial: Kind(
        lambda value: (value.func, value.args, value.keywords, value.__dict__),
        _put_nothing,
        fixed=True,
        whole=True,
    ),
    frozenset: Kind(tuple, _put_nothing, fixed=True, whole=True),
    tuple: Kind(tuple, _put_nothing, fixed=True, whole=True),
    FunctionType: Kind(parts_of_function, _put_nothing, fixed=True, whole=True),
    MethodType: Kind(lambda value: (value.__self__, value.__func__), _put_nothing, fixed=True, whole=True),
    BuiltinMethodType: Kind(lambda value: (value.__self__,), _put_nothing, fixed=True, whole=True),
}


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return _read_nothing
    if len(names) == 1:
        (only,) = names
        return lambda value: (getattr(value, only, UNSET),)
    return attrgetter(*names)


def careful(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(getattr(value, name, UNSET) for name in names)


def _writer(names: tuple[str, ...]) -> Callable[[Any, tuple[Any, ...]], None]:
    put = object.__setattr__
    remove = object.__delattr__

    def write(value: Any, content: tuple[Any, ...]) -> None:
        for name, item in zip(names, content, strict=False):
            if item is UNSET:
                if hasattr(value, name):
                    remove(value, name)
            elif getattr(value, name, UNSET) is not item:
                put(value, name, item)

    return write


def _dict_with_slots(slots: tuple[str, ...]) -> Kind:
    """Of a class that is a dict and has attributes beside its items."""
    write = _writer(slots)

    def read(value: Any) -> tuple[Any, ...]:
        return (*dict.items(value), *((name, getattr(value, name, UNSET)) for name in slots))

    def put(value: Any, content: tuple[Any, ...]) -> None:
        count = len(content) - len(slots)
        _put_dict(value, content[:count])
        write(value, tuple(item for _, item in content[count:]))

    return Kind(read, put, pairs=True, slots=slots)


def kind_of(cls: type, example: Any) -> Kind | None:
    """How objects of a class are read; None: they are left alone.

    Raises:
        NotRestorable: nobody knows how to put such an object back.
    """
    if (
        (issubclass(cls, ATOMS) and not has_more_than_its_value(cls))
        or issubclass(cls, _FOREVER)
        or cls in _STATISTICS
        or getattr(cls, "__kept__", None) is True
    ):
        return None
    if cls in (CoroutineType, GeneratorType):
        # Those of a task are put back with it (`live`). One that an object keeps may be resumed by anybody.
        raise NotRestorable(f"a {cls.__name__} that is kept in an object")
    found = _BUILT_IN.get(cls)
    if found is not None:
        return found
    if cls is MappingProxyType:
        raise NotRestorable("a view of a dict that is not to be changed")
    if issubclass(cls, OrderedDict):
        raise NotRestorable("an OrderedDict")
    for base in (dict, list, deque, set):
        if issubclass(cls, base):
            slots = slots_of(cls)
            if slots and base is dict:
                return _dict_with_slots(slots)
            if slots:
                raise NotRestorable(f"{cls.__name__}, a {base.__name__} with slots")
            built_in = _BUILT_IN[base]
            return Kind(built_in.read, built_in.put, built_in.target, pairs=built_in.pairs)
    if issubclass(cls, (tuple, frozenset)):
        return Kind(tuple, _put_nothing, fixed=True)
    kept = getattr(cls, "__kept__", None)
    names = slots_of(cls)
    if kept is not None:
        names = tuple(name for name in (*names, *vars(example)) if name not in kept)
    if issubclass(cls, Engine):
        names = _ENGINE
    if issubclass(cls, Task):
        names = tuple(name for name in names if name not in _TASK_KEEPS)
    if hides(cls):
        if cls is repeat:
            return None
        raise NotRestorable(f"an object of {cls.__module__}.{cls.__qualname__}")
    read = _reader(names)
    plain = not issubclass(cls, RwSemCore)
    if not plain:
        # What the digest says of it depends on whether somebody is queued.
        attributes = read
        read = lambda value: (*attributes(value), bool(value.queue))  # noqa: E731
    return Kind(read, _writer(names), fixed=is_fixed(cls), names=names, plain=plain, whole=kept is not None)


def by_content(value: Any) -> bool:
    """Whether two objects of that sort can be equal and yet make a difference."""
    cls = value.__class__
    if issubclass(cls, tuple):
        return any(item.__class__ not in QUICK and by_content(item) for item in value)
    if cls.__eq__ is object.__eq__ or hasattr(cls, "__kept__"):
        return False
    return not issubclass(cls, (*ATOMS, *_FOREVER, MethodType, FunctionType))
