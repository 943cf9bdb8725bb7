"""Suspended coroutines, taken down and put back: their frames are copied out of memory and into it again.

Python cannot copy a coroutine, but CPython keeps the frame of one inside the coroutine object, as plain words: the
position, and a reference for every local and every entry of the evaluation stack. An `Image` holds these words and the
references; `put_back` writes them where they were, whatever the coroutine did in between, its end included, and sets
the reference counts right. So a search can return to a state without running the program again.

Which references a coroutine owns is not taken from knowledge of its layout: the garbage collector is asked before and
after. Where the position, the state and the locals lie is measured on coroutines whose frames are known, and a
self-test has to pass before anything is put back. CPython 3.14 tags the references on its stacks, so there, on other
interpreters and whenever the measuring comes to something unexpected, `supported` is False and a search runs prefixes
again instead.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from gc import get_referents
from itertools import repeat
from operator import length_hint
from struct import Struct, unpack_from
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Final

from . import quick
from .frames import code_of
from .iterators import COPIED, NotRestorable, copied, must_be_apart, walked
from .layout import WORD, Layout, finish, step, trap

_read: Final = ctypes.string_at
_write: Final = ctypes.memmove
_POINTER: Final = Struct("<Q")
_TOP: Final = Struct("<i")
_NO_WORD: Final = bytes(WORD)
_NONE: Final = _POINTER.pack(id(None))


_layout: Layout | None = None


def _owned(coro: Any, owned: list[Any] | None = None) -> list[Any]:
    """What the coroutine would let go of at its end, of all that it tells the collector."""
    if owned is None:
        owned = get_referents(coro)
    assert _layout is not None
    if _layout.keeps_code:
        code = code_of(coro)
        for number, value in enumerate(owned):
            if value is code:
                del owned[number]
                break
    return owned


_counting: Final = ctypes.PyDLL(None)
_incref: Final = _counting.Py_IncRef
_incref.argtypes, _incref.restype = [ctypes.py_object], None
_decref: Final = _counting.Py_DecRef
_decref.argtypes, _decref.restype = [ctypes.py_object], None


#: Classes that need no attention in a frame.
_PLAIN: Final[set[type]] = {type(None), int, bool, str}


class Image:
    """What one suspended coroutine or generator knows.

    Attributes:
        coro: the object itself.
        raw: its memory from the exception state on.
        owned: what it has references to, frame object apart.
        copies: iterators among them, each with a copy that stands where it stood: it is put back in its place.
        walks: these, and those that they go over.
        below: `id` of what it awaits, 0 for the innermost.
        holds: suspended generators and coroutines among what it owns, other than that.
        said: for whoever works something out from it, once.
    """

    __slots__ = ("below", "copies", "coro", "holds", "owned", "raw", "said", "walks")

    def __init__(self, coro: Any, below: int = 0) -> None:
        layout = _layout
        assert layout is not None
        found = _suspended(coro, layout)
        if found is None:
            raise NotRestorable(f"a {coro.__class__.__name__} that has ended")
        self.coro = coro
        self.raw, owned = found
        self.owned = _owned(coro, owned)
        self.copies: list[tuple[Any, Any]] = []
        self.below = below
        self.holds: list[Any] = []
        self.said: Any = None
        self.walks: list[Any] = []
        for value in quick.unusual(self.owned, _PLAIN):
            self._look_at(value)
        if self.walks:
            must_be_apart(self.walks)

    def _look_at(self, value: Any) -> None:
        cls = value.__class__
        if cls is FrameType:
            self.owned = [other for other in self.owned if other.__class__ is not FrameType]
        elif cls in COPIED:
            if all(one is not value for one, _ in self.copies):
                self.walks += walked(value)
                self.copies.append((value, copied(value)))
        elif cls in _RUNNING:
            if id(value) != self.below:
                self.holds.append(value)
                self.walks.append(value)
        elif hasattr(cls, "__next__") and not _goes_on_for_ever(value):
            raise NotRestorable(f"an iterator of {cls.__name__}")
        elif cls is not repeat:
            _PLAIN.add(cls)

    @property
    def position(self) -> int:
        """Where it is: equal for equal places in the same code."""
        assert _layout is not None
        return int(_POINTER.unpack_from(self.raw, _layout.position - _layout.start)[0])

    def words(self) -> bytes:
        """Addresses as bytes: the locals in the order of the code's names, the stack, the exception that is handled.

        0 for none.
        """
        layout = _layout
        assert layout is not None
        (top,) = _TOP.unpack_from(self.raw, layout.top - layout.start)
        first = layout.locals - layout.start
        at = layout.handled - layout.start
        handled = self.raw[at : at + WORD]
        # `None` once an exception has been handled, which says nothing.
        return self.raw[first : first + top * WORD] + (_NO_WORD if handled == _NONE else handled)


_RUNNING: Final = (CoroutineType, GeneratorType)


def _suspended(coro: Any, layout: Layout) -> tuple[bytes, list[Any]] | None:
    """Its memory, and what it tells the collector that it has; None if it has ended."""
    if quick.COMPILED:
        found: tuple[bytes, list[Any]] | None = quick.suspended(
            coro, layout.start, layout.state, layout.ended
        )
        return found
    if _has_ended(coro):
        return None
    return _read(id(coro) + layout.start, coro.__sizeof__() - layout.start), get_referents(coro)


def _has_ended(coro: Any) -> bool:
    """Whether its frame is gone; asking for the frame would make an object of it."""
    assert _layout is not None
    return _read(id(coro) + _layout.state, 1)[0] == _layout.ended


def _goes_on_for_ever(iterator: Any) -> bool:
    """Whether it is the same wherever it stands."""
    return iterator.__class__ is repeat and length_hint(iterator, -1) == -1


def take(coro: Any, before: Image | None, below: int) -> Image:
    """The image of `coro` now; `before` itself if nothing has changed since."""
    layout = _layout
    assert layout is not None
    if before is not None:
        raw = _read(id(coro) + layout.start, coro.__sizeof__() - layout.start)
        if raw == before.raw and below == before.below and not before.copies and not before.holds:
            return before
    return Image(coro, below)


def chain_of(handle: Any) -> list[Any]:
    """A coroutine and what it awaits, outermost first; empty if it has ended.

    Raises:
        NotRestorable: it awaits something that is neither coroutine nor generator.
    """
    chain: list[Any] | None = quick.chain_of(handle) if quick.COMPILED else None
    if chain is not None:
        return chain
    chain = []
    while handle is not None:
        cls = handle.__class__
        if cls is CoroutineType:
            below = handle.cr_await
        elif cls is GeneratorType:
            below = handle.gi_yieldfrom
        else:
            raise NotRestorable(f"a task awaits {cls.__name__}")
        chain.append(handle)
        handle = below
    return chain


def held_by(chain: list[Any]) -> list[Any]:
    """Suspended coroutines and generators that are in variables of these and of each other, those apart."""
    if quick.COMPILED:
        assert _layout is not None
        found: list[Any] = quick.held_by(chain, _layout.state, _layout.ended)
        return found
    met = {id(coro): coro for coro in chain}
    waiting = [*chain]
    for one in waiting:
        for value in get_referents(one):
            if value.__class__ in _RUNNING and id(value) not in met and not _has_ended(value):
                met[id(value)] = value
                waiting.append(value)
    return list(met.values())[len(chain) :]


def _frame_of(owned: list[Any]) -> Any:
    for value in owned:
        if value.__class__ is FrameType:
            return value
    return None


def _settle(before: list[Any], after: list[Any]) -> None:
    """Set the counts right of what a coroutine owned and now owns, after its words were written."""
    for value in after:
        _incref(value)
    for value in before:
        _decref(value)


def put_back(images: list[Image]) -> None:
    """Make coroutines what they were when these images were taken."""
    layout = _layout
    assert layout is not None
    if quick.COMPILED:
        images = quick.put_back(images, layout.start, layout.frame - layout.start, layout.keeps_code)
    for image in images:
        _put_back(image, layout)


def _put_back(image: Image, layout: Layout) -> None:
    coro = image.coro
    before = _owned(coro)
    frame = _frame_of(before)
    raw = bytearray(image.raw)
    after = image.owned
    at = layout.frame - layout.start
    raw[at : at + WORD] = _POINTER.pack(0 if frame is None else id(frame))
    if frame is not None:
        after = [*after, frame]
    if image.copies:
        fresh = {id(old): copied(kept) for old, kept in image.copies}
        first = layout.locals - layout.start
        (top,) = unpack_from("<i", raw, layout.top - layout.start)
        for number in range(top):
            place = first + number * WORD
            new = fresh.get(_POINTER.unpack_from(raw, place)[0])
            if new is not None:
                _POINTER.pack_into(raw, place, id(new))
        after = [fresh.get(id(value), value) for value in after]
    _write(id(coro) + layout.start, bytes(raw), len(raw))
    _settle(before, after)


def drop(coro: Any) -> None:
    """End a suspended coroutine without running any more of it: no `finally`, no exit of a context manager."""
    layout = _layout
    assert layout is not None
    if quick.COMPILED and not layout.keeps_code and quick.drop(coro, layout.state, layout.ended):
        return
    before = _owned(coro)
    frame = _frame_of(before)
    if frame is not None and sys.getrefcount(frame) > 4:
        # Somebody looks into the frame, which lies in the coroutine: both stay.
        _incref(coro)
    _write(id(coro) + layout.state, bytes((layout.ended,)), 1)
    _settle(before, _owned(coro))


# -- whether it works here ---------------------------------------------------------------------


async def _inner(log: list[int], count: int) -> int:
    total = 0
    for number in range(count):
        try:
            await trap()
        finally:
            log.append(number)
        total += number
    return total


async def _outer(log: list[int], items: list[int]) -> int:
    total = 0
    for item in items:
        total += await _inner(log, item)
    return total


def _self_test() -> bool:
    """Go back from every place of a small program to every place before it, and count references."""
    items = [2, 1, 3]
    wanted: list[int] = []
    expected = finish(_outer(wanted, items))
    log: list[int] = []
    coro = _outer(log, items)
    path: list[tuple[list[Image], int]] = []
    rest = []
    for _ in range(3):
        before = sys.getrefcount(items), sys.getrefcount(log)
        rest.append(before)
        path.append(([Image(part, 0) for part in chain_of(coro)], len(log)))
        if step(coro) is not None:
            return False
    for images, length in reversed(path):
        for _ in range(2):
            if finish(coro) != expected or log != wanted:
                return False
            _restore(coro, images)
            del log[length:]
    counts = sys.getrefcount(items), sys.getrefcount(log)
    path.clear()
    for part in chain_of(coro):
        drop(part)
    if log:
        return False
    del images, part
    return counts[0] - len(rest) <= rest[0][0] + 3


def _restore(coro: Any, images: list[Image]) -> None:
    kept = {id(image.coro) for image in images}
    for part in reversed(chain_of(coro)):
        if id(part) not in kept:
            drop(part)
    put_back(images)


@cache
def supported() -> bool:
    """Whether coroutines can be put back on this interpreter."""
    global _layout  # noqa: PLW0603 # measured once a process
    known = (3, 11) <= sys.version_info[:2] < (3, 14) and sys.byteorder == "little"
    if sys.implementation.name != "cpython" or not known or ctypes.sizeof(ctypes.c_void_p) != WORD:
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    try:
        _layout = Layout()
        return _self_test()
    except (NotRestorable, ValueError, KeyError):
        return False
