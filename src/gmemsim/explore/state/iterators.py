"""Iterators that a suspended coroutine goes on with: a copy of one stands where that one stands."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_WALKED: Final[tuple[Any, ...]] = ([], (), "", range(1), range(1 << 70), b"")
#: `copy` gives back one of the same sort, over the same.
_PLAIN: Final = (*(type(iter(of)) for of in _WALKED), reversed, type(reversed([])))
#: These go over other iterators.
_AROUND: Final = (enumerate, zip)
COPIED: Final = frozenset((*_PLAIN, *_AROUND))


class NotRestorable(Exception):
    """The state has something in it that cannot be put back."""


def copied(iterator: Any) -> Any:
    """An iterator over the same, which stands where that one does.

    Raises:
        NotRestorable: it goes over one that cannot be copied.
    """
    if iterator.__class__ not in _AROUND:
        fresh = copy(iterator)
        stands: Any = iterator.__reduce__()
        # One that is through says nothing of where it stands.
        if len(stands) > 2 and (fresh.__class__ is not iterator.__class__ or fresh.__reduce__() != stands):
            # Beyond the end of its list as that is now, or over one whose class walks it in another way.
            raise NotRestorable(
                f"an iterator of {iterator.__class__.__name__} that a copy does not stand for"
            )
        return fresh
    reduced: Any = iterator.__reduce__()
    make, parts, *state = reduced
    fresh = make(*(copied(part) if part.__class__ in COPIED else part for part in parts))
    if state:
        fresh.__setstate__(*state)
    return fresh


def walked(iterator: Any) -> list[Any]:
    """It, and those that it goes over.

    Raises:
        NotRestorable: one of these cannot be copied.
    """
    found = [iterator]
    if iterator.__class__ in _AROUND:
        for part in iterator.__reduce__()[1]:
            if part.__class__ in COPIED:
                found += walked(part)
            elif hasattr(part, "__next__"):
                raise NotRestorable(f"an iterator of {part.__class__.__name__}")
    return found


def must_be_apart(iterators: Iterable[Any]) -> None:
    """Refuse one that is there twice: each would get a copy of its own, and go on alone.

    Raises:
        NotRestorable: there is one.
    """
    met: set[int] = set()
    for one in iterators:
        if id(one) in met:
            raise NotRestorable(f"an iterator of {one.__class__.__name__} that two go on with")
        met.add(id(one))
