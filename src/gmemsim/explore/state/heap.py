"""Every object that a run can change, its content as last seen, and how to put it back.

Found by walking from the engine. A `scan` reads each object with one call into C and compares it with what was read
before, by identity wherever identity can matter; so the cost of looking at a state is that of reading some hundred
small objects, and only what has changed since is worked on. What a scan replaces goes on a journal, which `back` plays
in reverse.

Left alone is what never changes (`ignored.CONSTANTS`, functions, frozen values), statistics of locks, and what an
object says that it keeps from run to run: `__kept__` of its class, True for all of it or a tuple of attributes.
"""

from __future__ import annotations

from collections import deque
from itertools import compress
from operator import call, getitem, is_not, ne
from types import BuiltinMethodType, CellType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from . import quick
from .contents import QUICK, UNSET, Kind, by_content, careful, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.engine import Engine


class Undo(NamedTuple):
    """An entry of the journal: which object, and what was known of it."""

    number: int
    content: tuple[Any, ...]
    known: Any


_new: Final = tuple.__new__
#: What `quick.changed` reads by itself.
_WAYS: Final = frozenset({dict, list, CellType})


class Heap:
    """The objects of one run that can change.

    Args:
        engine: of the run; every object is reached from it.

    Attributes:
        objects: by number, in the order in which they were met.
        content: of each, as the last scan read it: attributes in the order of `names`, the items of a container.
        numbers: of the objects, by `id`.
        known: whatever the owner has worked out from a content; None when it is new.
    """

    def __init__(self, engine: Engine) -> None:
        self.objects: list[Any] = []
        self.content: list[tuple[Any, ...]] = []
        self.known: list[Any] = []
        self.journal: list[Undo] = []
        self.numbers: dict[int, int] = {}
        self._kind_of: list[Kind] = []
        self._kinds: dict[type, Kind | None] = {}
        #: Numbers of what has to be read at every scan, and how.
        self._read: list[int] = []
        self._readers: list[Callable[[Any], tuple[Any, ...]]] = []
        self._targets: list[Any] = []
        self._last: list[tuple[Any, ...]] = []
        #: For `quick.changed`.
        self._holders: list[Any] = []
        self._ways: list[Any] = []
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
        self._alone: set[type] = set(QUICK)
        self._by_identity: set[type] = set(QUICK)
        self.add(engine, engine.runnable, engine.tasks, engine.faults, engine.roots)
        self.add(engine.rec, engine.on_step, engine.on_spawn)

    # -- looking -------------------------------------------------------------------------------

    def scan(self) -> list[int]:
        """Read everything; numbers of what has changed since the last time, what is new apart.

        Of these `known` is out of date, and the caller's to renew.
        """
        changed = self._look_quickly() if quick.COMPILED else self._look()
        if self._waiting:
            self._add_waiting()
        return changed

    def _look(self) -> list[int]:
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
        return changed

    def _look_quickly(self) -> list[int]:
        """The same: what is the same object by object is the same; of the rest it is asked as in `_look`."""
        changed = []
        last = self._last
        for place in quick.changed(self._holders, self._ways, self._readers, self._targets, last, UNSET):
            try:
                new = self._readers[place](self._targets[place])
            except AttributeError:
                self._readers[place] = careful(self._kind_of[self._read[place]].names)
                new = self._readers[place](self._targets[place])
            number = self._read[place]
            if new != last[place] or self._is_moved(number, last[place], new):
                changed.append(number)
                self._changed(place, number, new)
            else:
                last[place] = self.content[number] = new
        return changed

    def _is_moved(self, number: int, before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
        """Whether of two equal contents one has another container in it than the other."""
        if self._kind_of[number].pairs:
            before, now = (tuple(item for _, item in one) for one in (before, now))
        return any(map(by_content, compress(now, map(is_not, before, now))))

    def _changed(self, place: int, number: int, new: tuple[Any, ...]) -> None:
        # `Undo` itself, without the function that a NamedTuple calls for it.
        undo: Undo = _new(Undo, (number, self._last[place], self.known[number]))
        self.journal.append(undo)
        self._last[place] = self.content[number] = new
        self._take_in(number, new)

    def _take_in(self, number: int, content: tuple[Any, ...]) -> None:
        """Find what a content refers to."""
        kind = self._kind_of[number]
        self._waiting += quick.fresh(content, kind.pairs, self._alone, self.numbers)
        if not (kind.fixed or quick.COMPILED):
            self._hold(number, content)

    def _hold(self, number: int, content: tuple[Any, ...]) -> None:
        """Find what of a content has to be compared by identity."""
        kind = self._kind_of[number]
        by_identity = self._by_identity
        if kind.pairs:
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
            self.numbers[id(holder)]
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
            if not by_content(value):
                if not isinstance(value, tuple):
                    self._by_identity.add(value.__class__)
            elif kind.names:
                if place < len(kind.names):
                    containers.append((0, kind.names[place], value))
            elif kind.pairs:
                group = 0 if place >= len(content) - len(kind.slots) else 1
                containers.append((group, content[place][0], value))
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
                self._readers[place] = careful(self._kind_of[number].names)
                now.append(self._readers[place](self._targets[place]))
        return now

    def add(self, *values: Any) -> None:
        """Take in objects and whatever they lead to."""
        self._waiting.extend(values)
        self._add_waiting()

    def _add_waiting(self) -> None:
        waiting = self._waiting
        numbers = self.numbers
        while waiting:
            value = waiting.pop()
            cls = value.__class__
            if cls in self._alone or id(value) in numbers:
                continue
            try:
                kind = self._kinds[cls]
            except KeyError:
                kind = self._kinds[cls] = kind_of(cls, value)
            if kind is None:
                self._alone.add(cls)
                continue
            if cls is tuple or cls is MethodType or cls is BuiltinMethodType:
                # A value: only what is in it is an object.
                waiting.extend(kind.read(value))
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
                read = careful(kind.names)
                content = read(target)
            self.content.append(content)
            if not kind.fixed:
                self._place_of[number] = len(self._read)
                self._read.append(number)
                self._readers.append(read)
                self._targets.append(target)
                self._last.append(content)
                if quick.COMPILED:
                    self._holders.append(value)
                    self._ways.append(self._way_of(kind, value))
            self._take_in(number, content)
            if not kind.whole:
                waiting.append(getattr(value, "__dict__", None))
        self._places = range(len(self._read))

    def _way_of(self, kind: Kind, value: Any) -> Any:
        """How `quick.changed` reads an object."""
        cls = value.__class__
        if cls in _WAYS:
            return cls
        if kind.plain and (kind.names or kind.is_empty):
            return quick.offsets(cls, kind.names)
        return None

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
                if not quick.COMPILED:
                    self._hold(number, content)

    def _forget(self, count: int) -> None:
        for value in self.objects[count:]:
            del self.numbers[id(value)]
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
        for more in (self._read, self._readers, self._targets, self._last, self._holders, self._ways):
            del more[kept:]
        self._places = range(kept)


class _Empty:
    nothing: ClassVar[None] = None


#: What stands where nothing is held: never moved.
_EMPTY: Final[tuple[tuple[Any, Any, Any], ...]] = (
    (_Empty, "nothing", None),
    ({}, None, None),
    ([None], 0, None),
)
