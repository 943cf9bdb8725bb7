"""What the digest says of objects and coroutines: each text by a number, and which text it is under each renaming."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .symmetry import Renaming

__all__ = ["Frame", "Node", "Texts"]


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
    """Texts by number, in the order in which they were met.

    Args:
        renamings: under which each is read as well.
    """

    def __init__(self, renamings: Sequence[Renaming]) -> None:
        self._renamings = renamings
        self._numbers: dict[str, int] = {}
        self._views: list[tuple[int, ...]] = []

    def number(self, fields: list[str]) -> int:
        """Of a text that is made of these."""
        return self._number_of("\x1f".join(fields))

    def _number_of(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._numbers)
            self._views.append(())
            # Each of these has renamings of its own, and this text is one of them.
            self._views[number] = tuple(self._number_of(one.text(text)) for one in self._renamings)
        return number

    def views(self, number: int) -> tuple[int, ...]:
        """Numbers of a text under each renaming."""
        return self._views[number]
