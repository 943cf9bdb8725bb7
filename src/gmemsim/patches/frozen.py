"""What a value holds, taken down so that it can be compared with what it holds later.

Nothing of a user's own is called on the way (`__eq__`, `__len__`, `__getattr__`): it might change what is looked at.
"""

from __future__ import annotations

import array
import functools
import logging
import os
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from datetime import date, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

import attrs

from ..engine.blame import foreign
from ..engine.locks.stats import Counter

#: How deep objects are looked into, and how many of them in one place; beyond that only which object it is counts.
_DEPTH: Final = 60
_MOST: Final = 20_000
_PLAIN: Final = frozenset({int, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented)})
_WRITTEN: Final = frozenset({float, complex, Decimal, date, time, timedelta, range, slice})
_EMPTY: Final = object()
#: What changes while it is used as it should be, and says nothing: caches of loggers, statistics of locks.
_SILENT: Final = (
    type, types.ModuleType, types.MemberDescriptorType, types.GetSetDescriptorType,
    logging.Logger, logging.Handler, logging.Manager, Counter,
)  # fmt: skip
#: Not the user's: where a function came from, and marks that are set once.
_MARKS: Final = frozenset({"__wrapped__", "__isabstractmethod__", "stands_for", "first_call"})
#: After the name of a function whose cache has come to hold more.
IN_CACHE: Final = " (its cache)"
Cache: Final = functools._lru_cache_wrapper


@attrs.frozen
class Same:
    """An object that is only compared by which one it is."""

    of: object = attrs.field(eq=id)


def content(value: Any) -> Any:
    """What a value holds, as tuples that can be compared."""
    return _Content().of(value, _DEPTH)


def is_plain(value: Any) -> bool:
    """Whether a value cannot hold anything that changes."""
    return type(value) in _PLAIN or type(value) in _WRITTEN or isinstance(value, _SILENT)


def bare_function(value: Any) -> types.FunctionType | None:
    """The function that it is, if that keeps nothing but defaults that cannot change."""
    value = original(getattr(value, "__func__", value))
    if not isinstance(value, types.FunctionType) or vars(value) or value.__kwdefaults__:
        return None
    if set(value.__code__.co_freevars) - {"__class__"} or not all(map(is_plain, value.__defaults__ or ())):
        return None
    return value


def original(value: Any) -> Any:
    """The function that something stands in for (`entered`, `fitting`), or the value as it is."""
    while "stands_for" in getattr(value, "__dict__", {}):
        value = value.stands_for
    return value


def part_of(before: Any, now: Any) -> str:
    """What of a function differs, for a message after its name; empty: the whole, or it is no function."""
    if not (isinstance(before, tuple) and isinstance(now, tuple) and before[0] is now[0]):
        return ""
    if before[0] in (classmethod, staticmethod):
        return part_of(before[1], now[1])
    if before[0] is property:
        return next(
            (part_of(*each) for each in zip(before[1], now[1], strict=True) if each[0] != each[1]), ""
        )
    if before[0] is Cache:
        return IN_CACHE if before[1][0] != now[1][0] else part_of(before[1][1], now[1][1])
    if before[0] is not types.FunctionType:
        return ""
    old, new = dict(before[1][1:]), dict(now[1][1:])
    return next(
        (f" ({name})" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)), ""
    )


def _kept_by(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function holds from call to call, each with what it is called in a message."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield f"the default of {name}", value
    for name, value in list((function.__kwdefaults__ or {}).items()):
        yield f"the default of {name}", value
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__":
            yield f"{name} in the closure", in_cell(cell)
    for name, value in list(vars(function).items()):
        if name not in _MARKS:
            yield f"the attribute {name}", value


def in_cell(cell: types.CellType) -> Any:
    """What is in a cell of a closure, which may be empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


class _Content:
    """Of one value: an object that is met again is named by its number, so that circles end."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}

    def of(self, value: Any, depth: int) -> Any:
        cls = type(value)
        if cls in _PLAIN:
            return cls, value
        if cls in _WRITTEN:
            return cls, repr(value)
        if isinstance(value, _SILENT):
            return Same(value)
        met = self._met.get(id(value))
        if met is not None:
            return "again", met
        if not depth or len(self._met) >= _MOST:
            return Same(value)
        self._met[id(value)] = len(self._met)
        for kind, look in _KINDS:
            if isinstance(value, kind):
                more = () if isinstance(value, _WHOLE) else self._attributes(value, depth - 1)
                return cls, look(self, value, depth - 1), more
        if cls.__module__ == "itertools":
            return Same(value), repr(value)
        found = self._attributes(value, depth - 1)
        return Same(value) if found is None else (cls, found)

    def all(self, values: Any, depth: int) -> tuple[Any, ...]:
        return tuple([self.of(each, depth) for each in list(values)])

    def items(self, values: Any, depth: int) -> tuple[Any, ...]:
        return tuple([(self.of(key, depth), self.of(each, depth)) for key, each in list(values)])

    def _attributes(self, value: Any, depth: int) -> tuple[Any, ...] | None:
        """Of its slots and its dictionary; None: it has neither."""
        cls = type(value)
        found: list[Any] | None = None
        for owner in cls.__mro__:
            slots: Any = vars(owner).get("__slots__")
            for name in (slots,) if isinstance(slots, str) else tuple(slots or ()):
                found = [] if found is None else found
                hidden = name.startswith("__") and not name.endswith("__")
                with suppress(AttributeError):
                    full = f"_{owner.__name__.lstrip('_')}{name}" if hidden else name
                    if name not in ("__weakref__", "__dict__"):
                        found.append((name, self.of(object.__getattribute__(value, full), depth)))
        with suppress(AttributeError, TypeError):
            held = object.__getattribute__(value, "__dict__")
            if isinstance(held, dict) and not isinstance(value, types.FunctionType):
                found = (found or []) + [
                    (name, self.of(each, depth)) for name, each in list(held.items()) if name not in _MARKS
                ]
        return None if found is None else tuple(found)

    def function(self, value: types.FunctionType, depth: int) -> Any:
        real = original(value)
        if not isinstance(real, types.FunctionType) or not foreign(real.__code__.co_filename):
            return (Same(real),)
        return Same(real), *((name, self.of(each, depth)) for name, each in _kept_by(real))

    def generator(self, value: Any, depth: int) -> Any:
        frame = value.gi_frame
        return None if frame is None else (frame.f_lasti, self.items(frame.f_locals.items(), depth))

    def builtin(self, value: Any, depth: int) -> Any:
        """`[].append` is a place in which a list is held."""
        return value.__name__, self.of(value.__self__, depth)


def _written(value: Any) -> str:
    """Of an object whose class is derived from a plain one."""
    base = next(each for each in (int, float, complex, str, bytes) if isinstance(value, each))
    return base.__repr__(value)


_Look = Callable[[_Content, Any, int], Any]
#: What else they have is how they are made.
_WHOLE: Final = (
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
    threading.local,
    type(os.environ),
)
#: How the content of each kind is had, subclasses first.
_KINDS: Final[tuple[tuple[Any, _Look], ...]] = (
    (types.FunctionType, _Content.function),
    (OrderedDict, lambda at, value, depth: at.items(OrderedDict.items(value), depth)),
    (dict, lambda at, value, depth: at.items(dict.items(value), depth)),
    (list, lambda at, value, depth: at.all(list.__iter__(value), depth)),
    (tuple, lambda at, value, depth: at.all(tuple.__iter__(value), depth)),
    (set, lambda at, value, depth: at.all(set.__iter__(value), depth)),
    (frozenset, lambda at, value, depth: at.all(frozenset.__iter__(value), depth)),
    (deque, lambda at, value, depth: (value.maxlen, at.all(deque.__iter__(value), depth))),
    (bytearray, lambda _at, value, _depth: bytes(value)),
    (array.array, lambda _at, value, _depth: value.tobytes()),
    ((int, float, complex, str, bytes), lambda _at, value, _depth: _written(value)),
    (types.MappingProxyType, lambda at, value, depth: at.items(value.items(), depth)),
    ((classmethod, staticmethod), lambda at, value, depth: at.of(value.__func__, depth)),
    (property, lambda at, value, depth: at.all((value.fget, value.fset, value.fdel), depth)),
    (functools.partial, lambda at, value, depth: at.all((value.func, value.args, value.keywords), depth)),
    (Cache, lambda at, value, depth: (value.cache_info()[1::2], at.of(value.__wrapped__, depth))),
    (types.MethodType, lambda at, value, depth: at.all((value.__func__, value.__self__), depth)),
    (types.BuiltinMethodType, _Content.builtin),
    (types.MethodWrapperType, _Content.builtin),
    (types.GeneratorType, _Content.generator),
    (ContextVar, lambda at, value, depth: at.of(value.get(_EMPTY), depth)),
    (threading.local, lambda at, value, depth: at.items(vars(value).items(), depth)),
    (
        (weakref.WeakKeyDictionary, weakref.WeakValueDictionary),
        lambda at, value, depth: at.items(value.items(), depth),
    ),
    (weakref.WeakSet, lambda at, value, depth: at.all(value, depth)),
    (Random, lambda _at, value, _depth: Random.getstate(value)),
    (BaseException, lambda at, value, depth: at.all((value.args, value.__cause__), depth)),
    (type(os.environ), lambda at, value, depth: at.items(value.items(), depth)),
)
