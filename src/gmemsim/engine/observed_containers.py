"""Views of the plain containers of shared state that announce what is done to them.

A declared field (`observed.announces`) is read as one of these while a step is asked for its footprint. What such a
view is asked about a key is a read of that key's range, what goes through all of it a read of the whole; a change
likewise.
Iteration is announced where it begins: who goes on with it in a later step takes a list first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping, MutableSequence, MutableSet
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .op import Op

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView

    from .op import Mode


class _Step:
    """The step under way.

    Attributes:
        touched: where accesses are announced; None while no step runs, or nobody asks.
    """

    __slots__ = ("touched",)

    def __init__(self) -> None:
        self.touched: list[Op] | None = None


STEP: Final = _Step()


class Content(NamedTuple):
    """What a container is announced as.

    Attributes:
        where: object and range of the whole, for its owner.
        span: the range of a key; None: always the whole.
    """

    where: Callable[[Any], tuple[str, int, int]]
    span: Callable[[Any], tuple[int, int]] | None


class _View:
    """A container of a declared field, with its owner and its declaration."""

    __slots__ = ("_content", "_owner", "_plain")

    def __init__(self, plain: Any, owner: Any, content: Content) -> None:
        self._plain = plain
        self._owner = owner
        self._content = content

    def _tell(self, mode: Mode, part: tuple[int, int] | None = None) -> None:
        touched = STEP.touched
        if touched is not None:
            obj, low, high = self._content.where(self._owner)
            if part is not None:
                low, high = part
            touched.append(Op("load" if mode == "r" else "rmw", obj, low, high, mode))

    def _tell_key(self, mode: Mode, key: Any) -> None:
        span = self._content.span
        self._tell(mode, None if span is None else span(key))

    def _tell_range(self, mode: Mode, keys: range) -> None:
        """All keys of a range at once."""
        span = self._content.span
        if keys:
            self._tell(mode, None if span is None else (span(keys[0])[0], span(keys[-1])[1]))

    def __contains__(self, key: object) -> bool:
        self._tell_key("r", key)
        return key in self._plain

    def __iter__(self) -> Iterator[Any]:
        self._tell("r")
        return iter(self._plain)

    def __len__(self) -> int:
        self._tell("r")
        return len(self._plain)

    def __eq__(self, other: object) -> bool:
        self._tell("r")
        return bool(self._plain == (other._plain if isinstance(other, _View) else other))

    __hash__ = None  # type: ignore[assignment] # as of what it is a view of

    def __getattr__(self, name: str) -> Any:
        # Whatever else it can do may change it.
        self._tell("w")
        return getattr(self._plain, name)

    def clear(self) -> None:
        self._tell("w")
        self._plain.clear()

    def copy(self) -> Any:
        self._tell("r")
        return self._plain.copy()

    def __repr__(self) -> str:
        return repr(self._plain)


class _Dict(_View, MutableMapping[Any, Any]):
    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        self._tell_key("r", key)
        return self._plain[key]

    def get(self, key: Any, default: Any = None) -> Any:
        self._tell_key("r", key)
        return self._plain.get(key, default)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._tell_key("w", key)
        self._plain[key] = value

    def __delitem__(self, key: Any) -> None:
        self._tell_key("w", key)
        del self._plain[key]

    def pop(self, key: Any, *default: Any) -> Any:
        self._tell_key("w", key)
        return self._plain.pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self._tell_key("w", key)
        return self._plain.setdefault(key, default)

    def keys(self) -> KeysView[Any]:
        self._tell("r")
        found: KeysView[Any] = self._plain.keys()
        return found

    def values(self) -> ValuesView[Any]:
        self._tell("r")
        found: ValuesView[Any] = self._plain.values()
        return found

    def items(self) -> ItemsView[Any, Any]:
        self._tell("r")
        found: ItemsView[Any, Any] = self._plain.items()
        return found


class _Set(_View, MutableSet[Any]):
    __slots__ = ()

    def add(self, value: Any) -> None:
        self._tell_key("w", value)
        self._plain.add(value)

    def discard(self, value: Any) -> None:
        self._tell_key("w", value)
        self._plain.discard(value)

    def update(self, values: Iterable[Any]) -> None:
        values = self._tell_all("w", values)
        self._plain.update(values)

    def difference_update(self, values: Iterable[Any]) -> None:
        values = self._tell_all("w", values)
        self._plain.difference_update(values)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        other = self._tell_all("r", other)
        return bool(self._plain.isdisjoint(other))

    def _tell_all(self, mode: Mode, keys: Iterable[Any]) -> Iterable[Any]:
        if isinstance(keys, range):
            self._tell_range(mode, keys)
            return keys
        keys = list(keys)
        for key in keys:
            self._tell_key(mode, key)
        return keys

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        """What `|` and `&` make is nobody's: a plain set."""
        return set(it)


class _List(_View, MutableSequence[Any]):
    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        self._tell("r")
        return value in self._plain

    def __getitem__(self, index: Any) -> Any:
        self._tell("r")
        return self._plain[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._tell("w")
        self._plain[index] = value

    def __delitem__(self, index: Any) -> None:
        self._tell("w")
        del self._plain[index]

    def insert(self, index: int, value: Any) -> None:
        self._tell("w")
        self._plain.insert(index, value)

    def append(self, value: Any) -> None:
        self._tell("w")
        self._plain.append(value)

    def remove(self, value: Any) -> None:
        self._tell("w")
        self._plain.remove(value)


class _Deque(_List):
    __slots__ = ()

    def popleft(self) -> Any:
        self._tell("w")
        return self._plain.popleft()


_VIEWS: Final[dict[type, type[_View]]] = {dict: _Dict, set: _Set, list: _List, deque: _Deque}


#: Containers that announce themselves: their methods are declared.
declared_containers: Final[set[type]] = set()


def observed(value: Any, owner: Any, content: Content) -> Any:
    """A view of a container of a declared field; of a class with methods that are declared, the container itself.

    What another container of a class of its own looks at besides the key that it is asked about nobody knows, so
    whatever is done to it counts for all of it. What is no container is no view either.
    """
    cls = value.__class__
    view = _VIEWS.get(cls)
    if view is not None:
        return view(value, owner, content)
    if cls not in declared_containers:
        for base, view in _VIEWS.items():
            if isinstance(value, base):
                return view(value, owner, Content(content.where, None))
    return value


def keys_within(container: Any, low: int, high: int) -> list[int]:
    """The whole numbers of [low, high) that are keys or members, in order, as one look at that range.

    It costs what the smaller of range and container does.
    """
    if isinstance(container, _View):
        container._tell_range("r", range(low, high))
        container = container._plain
    if high - low <= len(container):
        return [key for key in range(low, high) if key in container]
    return sorted(key for key in container if low <= key < high)
