"""What the digest says of objects and coroutines: each text by a number, and which text it is under each renaming."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from types import CodeType, FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...engine.op import Op
from .ignored import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .symmetry import Renaming


_NAMED: Final = (type, ModuleType, CodeType)


class Node(NamedTuple):
    """What the digest says of one object: number of its text, and the objects it refers to, in order.

    `mark` stands for these references in the key of a structure. `views` has text and references under each renaming.
    """

    text: int
    refers: tuple[int, ...]
    mark: int
    views: tuple[tuple[int, tuple[int, ...]], ...]


class Frame(NamedTuple):
    """What the digest says of a suspended coroutine; `inner` are those in its variables that it does not await.

    `views` has the text under each renaming.
    """

    text: int
    refers: tuple[int, ...]
    inner: tuple[int, ...]
    views: tuple[int, ...]


class Texts:
    """Texts, each by a number that follows from it, so that it is the same in every process.

    Of two texts with the same 64 bits one would be taken for the other. With n texts (some ten thousand in a large
    search) that happens with a probability of about n^2 / 2^65.

    Args:
        renamings: under which each is read as well.
    """

    def __init__(self, renamings: Sequence[Renaming]) -> None:
        self._renamings = renamings
        self._numbers: dict[str, int] = {}
        self._views: dict[int, tuple[int, ...]] = {}

    def number(self, fields: list[str]) -> int:
        """Of a text that is made of these."""
        return self._number_of("\x1f".join(fields))

    def _number_of(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = self._numbers[text] = int.from_bytes(digest, "little", signed=True)
            # Each of these has renamings of its own, and this text is one of them.
            self._views[number] = tuple(self._number_of(one.text(text)) for one in self._renamings)
        return number

    def views(self, number: int) -> tuple[int, ...]:
        """Numbers of a text under each renaming."""
        return self._views[number]


def words_for(cls: type) -> Callable[[Any], str]:
    """What is said of values that the heap leaves alone."""
    for base, key in CONSTANTS.items():
        if issubclass(cls, base):
            return lambda value: f"{cls.__name__} {key(value)}"
    if cls is Op:
        return cache(repr)
    if cls is FrameType:
        return lambda _: ""
    if issubclass(cls, _NAMED):
        return _name
    if cls.__module__ in ("builtins", "itertools") or issubclass(cls, (int, str, float, bytes)):
        return repr
    # Kept from run to run, or never changed.
    plain = all("__repr__" not in vars(base) for base in cls.__mro__[:-1])
    return lambda value: cls.__name__ if plain else repr(value)


def _name(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or value.__class__.__name__)
