"""Every object that a run can change, its content as last seen, and how to put it back.

Found by walking from the engine. A `scan` reads each object with one call into C and compares it with what was read
before, by identity wherever identity can matter; so the cost of looking at a state is that of reading some hundred
small objects, and only what has changed since is worked on. What a scan replaces goes on a journal, which `back` plays
in reverse.

Left alone is what never changes (`ignored.CONSTANTS`, functions, frozen values), statistics of locks, and what an
object says that it keeps from run to run: `__kept__` of its class, True for all of it or a tuple of attributes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import suppress
from enum import Enum
from itertools import chain, compress
from operator import attrgetter, call, getitem, is_not, ne
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...engine.engine import Engine
from ...engine.locks.rwsem_core import RwSemCore
from ...engine.locks.rwsem_stats import PathCounters
from ...engine.locks.stats import LockStatistics, ModeStatistics
from ...engine.op import Op
from ...engine.tape import Tape
from .coroutines import NotRestorable
from .ignored import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ATOMS", "UNSET", "Heap", "Undo", "is_fixed", "slots_of"]

#: Values without an identity that matters.
ATOMS: Final = (
    type(None), bool, int, str, float, complex, bytes, Enum, range, slice, type, ModuleType, CodeType,
    BuiltinFunctionType, BuiltinMethodType, FrameType, MappingProxyType, Op,
)  # fmt: skip
_STATISTICS: Final = frozenset({LockStatistics, ModeStatistics, PathCounters, Tape})
_FOREVER: Final = tuple(CONSTANTS)

#: Stands for an attribute that is not set.
UNSET: Final = type("UNSET", (), {"__slots__": ()})()

#: Of the engine: what belongs to the search.
_ENGINE_KEEPS: Final = frozenset({"at_failure", "strategy", "tape", "max_steps"})


class Undo(NamedTuple):
    """An entry of the journal: which object, and what was known of it."""

    number: int
    content: tuple[Any, ...]
    known: Any


def slots_of(cls: type) -> tuple[str, ...]:
    """Names of all slots of a class; of a msgspec struct, its fields."""
    names: list[str] = list(getattr(cls, "__struct_fields__", ()))
    for base in cls.__mro__:
        own = vars(base).get("__slots__", ())
        names += (own,) if isinstance(own, str) else own
    # A private name is mangled with the class that declares it, and the project has none.
    return tuple(dict.fromkeys(name for name in names if name not in ("__dict__", "__weakref__")))


def is_fixed(cls: type) -> bool:
    """Whether objects of a class refuse to be changed."""
    config = getattr(cls, "__struct_config__", None)
    if config is not None:
        return bool(config.frozen)
    # attrs names the method after what it does.
    return hasattr(cls, "__attrs_attrs__") and "frozen" in getattr(cls.__setattr__, "__name__", "")


class _Kind:
    """How objects of one class are read and written.

    Attributes:
        read: called with `target(value)`, gives the content as a tuple.
        target: what `read` is called with.
        put: writes a content.
        fixed: objects never change: read once.
    """

    __slots__ = ("fixed", "names", "put", "read", "target")

    def __init__(
        self,
        read: Callable[[Any], tuple[Any, ...]],
        put: Callable[[Any, tuple[Any, ...]], None],
        target: Callable[[Any], Any] | None = None,
        *,
        fixed: bool = False,
        names: tuple[str, ...] = (),
    ) -> None:
        self.read = read
        self.put = put
        self.target = target
        self.fixed = fixed
        self.names = names


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


def _items(value: Any) -> Any:
    return dict.items(value)


def _read_nothing(value: Any) -> tuple[Any, ...]:
    return ()


_BUILT_IN: Final[dict[type, _Kind]] = {
    list: _Kind(tuple, _put_list),
    deque: _Kind(tuple, _put_deque),
    set: _Kind(tuple, _put_set),
    dict: _Kind(tuple, _put_dict, _items),
    CellType: _Kind(_read_cell, _put_cell),
    frozenset: _Kind(tuple, _put_nothing, fixed=True),
    tuple: _Kind(tuple, _put_nothing, fixed=True),
    FunctionType: _Kind(
        lambda value: (*(value.__closure__ or ()), *(value.__defaults__ or ())), _put_nothing, fixed=True
    ),
    MethodType: _Kind(lambda value: (value.__self__, value.__func__), _put_nothing, fixed=True),
}


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return _read_nothing
    if len(names) == 1:
        (only,) = names
        return lambda value: (getattr(value, only, UNSET),)
    return attrgetter(*names)


def _careful(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
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


class Heap:
    """The objects of one run that can change.

    Args:
        engine: of the run; every object is reached from it.

    Attributes:
        objects: by number, in the order in which they were met.
        content: of each, as the last scan read it: attributes in the order of `names`, the items of a container.
        known: whatever the owner has worked out from a content; None when it is new.
    """

    def __init__(self, engine: Engine) -> None:
        self.objects: list[Any] = []
        self.content: list[tuple[Any, ...]] = []
        self.known: list[Any] = []
        self.journal: list[Undo] = []
        self._numbers: dict[int, int] = {}
        self._kind_of: list[_Kind] = []
        self._kinds: dict[type, _Kind | None] = {}
        #: Numbers of what has to be read at every scan, and how.
        self._read: list[int] = []
        self._readers: list[Callable[[Any], tuple[Any, ...]]] = []
        self._targets: list[Any] = []
        self._last: list[tuple[Any, ...]] = []
        self._places = range(0)
        self._place_of: dict[int, int] = {}
        self._waiting: list[Any] = []
        #: What is compared by identity: getter, holders, keys and values side by side; which are free; whose they are.
        self._held: tuple[tuple[Any, list[Any], list[Any], list[Any]], ...] = tuple(
            (getter, [], [], []) for getter in (getattr, dict.get, getitem)
        )
        self._free: tuple[list[int], ...] = ([], [], [])
        self._containers: dict[int, list[tuple[int, int]]] = {}
        self._found: dict[int, list[tuple[int, Any]]] = {}
        #: Classes of what has no content to look after, and of what is compared by identity anyway.
        self._alone: set[type] = set(_QUICK)
        self._by_identity: set[type] = set(_QUICK)
        self.add(engine)

    def number(self, value: Any) -> int | None:
        """Number of an object; None for what is not on the heap."""
        return self._numbers.get(id(value))

    def names(self, number: int) -> tuple[str, ...]:
        """Attributes that the content of an object has; empty for a container."""
        return self._kind_of[number].names

    # -- looking -------------------------------------------------------------------------------

    def scan(self) -> list[int]:
        """Read everything; numbers of what has changed since the last time, what is new apart.

        Of these `known` is out of date, and the caller's to renew.
        """
        try:
            now = list(map(call, self._readers, self._targets))
        except AttributeError:
            now = self._carefully()
        places = list(compress(self._places, map(ne, now, self._last)))
        changed = [self._read[place] for place in places]
        for place, number in zip(places, changed, strict=True):
            self._changed(place, number, now[place])
        for number in self._moved():
            if number not in changed:
                changed.append(number)
                place = self._place_of[number]
                self._changed(place, number, now[place])
        if self._waiting:
            self._add_waiting()
        return changed

    def _changed(self, place: int, number: int, new: tuple[Any, ...]) -> None:
        self.journal.append(Undo(number, self._last[place], self.known[number]))
        self._last[place] = self.content[number] = new
        self._take_in(number, new)

    def _take_in(self, number: int, content: tuple[Any, ...]) -> None:
        """Find what a content refers to, and what of it has to be compared by identity."""
        kind = self._kind_of[number]
        values = chain.from_iterable(content) if kind.target is _items else content
        numbers = self._numbers
        alone = self._alone
        self._waiting.extend([v for v in values if v.__class__ not in alone and id(v) not in numbers])
        if kind.fixed:
            return
        by_identity = self._by_identity
        if kind.target is _items:
            found = [
                (place, item) for place, (_, item) in enumerate(content) if item.__class__ not in by_identity
            ]
        else:
            found = [(place, item) for place, item in enumerate(content) if item.__class__ not in by_identity]
        if found or number in self._found:
            self._find_containers(number, content, found)

    def _moved(self) -> list[int]:
        """Numbers of objects in which a container was replaced by another one with the same content.

        Contents are compared as values, which is quick and right for all but containers, and what else compares by
        content: of these each is looked at once more where it was found.
        """
        return [
            self._numbers[id(holder)]
            for getter, holders, keys, values in self._held
            for holder in compress(holders, map(is_not, map(getter, holders, keys), values))
        ]

    def _find_containers(self, number: int, content: tuple[Any, ...], found: list[tuple[int, Any]]) -> None:
        """Take down what in a content may have to be compared by identity."""
        known = self._found.get(number)
        if known is not None and len(known) == len(found):
            for old, new in zip(known, found, strict=True):
                if old[1] is not new[1] or old[0] != new[0]:
                    break
            else:
                return
        self._found[number] = found
        holder = self.objects[number]
        kind = self._kind_of[number]
        containers: list[tuple[int, Any, Any]] = []
        for place, value in found:
            if not _by_content(value):
                if not isinstance(value, tuple):
                    self._by_identity.add(value.__class__)
            elif kind.names:
                if place < len(kind.names):
                    containers.append((0, kind.names[place], value))
            elif kind.target is _items:
                containers.append((1, content[place][0], value))
            elif isinstance(holder, (list, deque)):
                containers.append((2, place, value))
        self._let_go(number)
        if not containers:
            return
        slots = self._containers[number] = []
        for group, key, value in containers:
            _, holders, keys, values = self._held[group]
            free = self._free[group]
            if free:
                slot = free.pop()
                holders[slot], keys[slot], values[slot] = holder, key, value
            else:
                slot = len(holders)
                holders.append(holder)
                keys.append(key)
                values.append(value)
            slots.append((group, slot))

    def _let_go(self, number: int) -> None:
        for group, slot in self._containers.pop(number, ()):
            _, holders, keys, values = self._held[group]
            holders[slot], keys[slot], values[slot] = _EMPTY[group]
            self._free[group].append(slot)

    def _carefully(self) -> list[tuple[Any, ...]]:
        """A slot was found that is not set: its class is read another way from now on."""
        now = []
        for place, number in enumerate(self._read):
            try:
                now.append(self._readers[place](self._targets[place]))
            except AttributeError:
                self._readers[place] = _careful(self._kind_of[number].names)
                now.append(self._readers[place](self._targets[place]))
        return now

    def add(self, *values: Any) -> None:
        """Take in objects and whatever they lead to."""
        self._waiting.extend(values)
        self._add_waiting()

    def _add_waiting(self) -> None:
        waiting = self._waiting
        numbers = self._numbers
        while waiting:
            value = waiting.pop()
            cls = value.__class__
            if cls in self._alone or id(value) in numbers:
                continue
            try:
                kind = self._kinds[cls]
            except KeyError:
                kind = self._kinds[cls] = self._kind(cls, value)
            if kind is None:
                self._alone.add(cls)
                continue
            number = len(self.objects)
            numbers[id(value)] = number
            self.objects.append(value)
            self._kind_of.append(kind)
            self.known.append(None)
            target = value if kind.target is None else kind.target(value)
            read = kind.read
            try:
                content = read(target)
            except AttributeError:
                read = _careful(kind.names)
                content = read(target)
            self.content.append(content)
            if not kind.fixed:
                self._place_of[number] = len(self._read)
                self._read.append(number)
                self._readers.append(read)
                self._targets.append(target)
                self._last.append(content)
            self._take_in(number, content)
            if cls not in _BUILT_IN and not hasattr(cls, "__kept__"):
                waiting.append(getattr(value, "__dict__", None))
        self._places = range(len(self._read))

    def _kind(self, cls: type, example: Any) -> _Kind | None:
        """How objects of a class are read; None: they are left alone.

        Raises:
            NotRestorable: nobody knows how to put such an object back.
        """
        if (
            issubclass(cls, ATOMS)
            or issubclass(cls, _FOREVER)
            or cls in _STATISTICS
            or getattr(cls, "__kept__", None) is True
        ):
            return None
        if cls in (CoroutineType, GeneratorType):
            return None
        found = _BUILT_IN.get(cls)
        if found is not None:
            return found
        if issubclass(cls, OrderedDict):
            raise NotRestorable("an OrderedDict")
        for base in (dict, list, deque, set):
            if issubclass(cls, base):
                if any(slots_of(cls)):
                    raise NotRestorable(f"{cls.__name__} has both items and slots")
                return _BUILT_IN[base]
        if issubclass(cls, (tuple, frozenset)):
            return _BUILT_IN[tuple]
        kept = getattr(cls, "__kept__", None)
        names = slots_of(cls)
        if kept is not None:
            names = tuple(name for name in (*names, *vars(example)) if name not in kept)
        if issubclass(cls, Engine):
            names = tuple(name for name in names if name not in _ENGINE_KEEPS)
        if (not names and not hasattr(cls, "__dict__")) or cls.__module__ in (
            "builtins",
            "itertools",
            "_random",
        ):
            if cls.__module__ == "itertools" and cls.__name__ == "repeat":
                return None
            raise NotRestorable(f"an object of {cls.__module__}.{cls.__qualname__}")
        read = _reader(names)
        if issubclass(cls, RwSemCore):
            # What the digest says of it depends on whether somebody is queued.
            attributes = read
            read = lambda value: (*attributes(value), bool(value.queue))  # noqa: E731
        return _Kind(read, _writer(names), fixed=is_fixed(cls), names=names)

    # -- going back ----------------------------------------------------------------------------

    def mark(self) -> tuple[int, int]:
        """Where `back` can return to: call it after a scan, with nothing run in between."""
        return len(self.journal), len(self.objects)

    def back(self, mark: tuple[int, int], *, look: bool = True) -> None:
        """Make every object what it was at `mark`.

        What ran since the last scan is undone as well; `look` says whether anything did.
        """
        if look:
            self.scan()
        length, count = mark
        undone = self.journal[length:]
        del self.journal[length:]
        undone.reverse()
        oldest = {undo.number: undo for undo in undone}
        for number, undo in oldest.items():
            self.content[number] = undo.content
            self.known[number] = undo.known
            if number < count:
                self._kind_of[number].put(self.objects[number], undo.content)
        self._forget(count)
        for number in oldest:
            if number < count:
                # Read again: equal contents of a set may come in another order.
                place = self._place_of[number]
                self._last[place] = content = self._readers[place](self._targets[place])
                self.content[number] = content
                self._take_in(number, content)

    def _forget(self, count: int) -> None:
        for value in self.objects[count:]:
            del self._numbers[id(value)]
        for part in (self.objects, self.content, self.known, self._kind_of):
            del part[count:]
        read = self._read
        kept = len(read)
        while kept and read[kept - 1] >= count:
            kept -= 1
        for number in self._read[kept:]:
            del self._place_of[number]
            self._let_go(number)
            self._found.pop(number, None)
        for more in (self._read, self._readers, self._targets, self._last):
            del more[kept:]
        self._places = range(kept)


_QUICK: Final = frozenset({type(None), bool, int, str, float, bytes, type, Op})


class _Empty:
    nothing = None


#: What stands where nothing is held: never moved.
_EMPTY: Final = ((_Empty, "nothing", None), ({}, None, None), ([None], 0, None))


def _by_content(value: Any) -> bool:
    """Whether two objects of that sort can be equal and yet make a difference."""
    cls = value.__class__
    if issubclass(cls, tuple):
        return any(item.__class__ not in _QUICK and _by_content(item) for item in value)
    if cls.__eq__ is object.__eq__ or is_fixed(cls) or hasattr(cls, "__kept__"):
        return False
    return not issubclass(cls, (*ATOMS, *_FOREVER, MethodType, FunctionType))
