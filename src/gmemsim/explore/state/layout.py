"""Where in a coroutine its state, position and locals lie: measured on coroutines whose frames are known."""

from __future__ import annotations

import sys
from ctypes import string_at
from struct import unpack_from
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from .iterators import NotRestorable

if TYPE_CHECKING:
    from collections.abc import Generator

WORD: Final = 8


class Layout:
    """Offsets in a coroutine object, in bytes."""

    def __init__(self) -> None:
        marks = [object() for _ in range(2)]
        probe: Any = _probe(*marks)
        probe.send(None)
        address, size = id(probe), probe.__sizeof__()
        words = _words(probe)
        name = words.index(id(probe.__qualname__))
        #: What lies before is the head of the object, its weak references and its names.
        self.start = (name + 1) * WORD
        self.locals = words.index(id(marks[0])) * WORD
        if words[self.locals // WORD + 1] != id(marks[1]):
            raise NotRestorable("locals are not side by side")
        self.top = self.locals - 8
        self.position = self.locals - 16
        if unpack_from("<i", string_at(address, size), self.top)[0] != 3:
            raise NotRestorable("no stack pointer before the locals")
        frame = probe.cr_frame
        self.frame = _words(probe).index(id(frame)) * WORD
        first = unpack_from("<Q", string_at(address, size), self.position)[0]
        moved = frame.f_lasti
        probe.send(None)
        second = unpack_from("<Q", string_at(address, size), self.position)[0]
        if second - first != frame.f_lasti - moved:
            raise NotRestorable("no position before the stack pointer")
        del frame
        suspended = string_at(address, size)
        finish(probe)
        ended = string_at(address, size)
        first_of_frame = min(self.frame, self.locals - 64)
        changed = [at for at in range(self.start, first_of_frame) if suspended[at] != ended[at]]
        if len(changed) != 1:
            raise NotRestorable("no single byte says that a coroutine has ended")
        self.state = changed[0]
        self.ended = ended[self.state]
        handling: Any = _handling()
        error = handling.send(None)
        #: Where the exception is that an `except` handles.
        self.handled = _words(handling).index(id(error)) * WORD
        handling.close()
        if not self.start <= self.handled < first_of_frame:
            raise NotRestorable("the exception that is handled is not before the frame")
        # From 3.12 on a coroutine keeps its code after its end, and does not always tell the collector so.
        code = probe.cr_code
        kept = sys.getrefcount(code)
        other = _probe(*marks)
        alive = sys.getrefcount(code)
        finish(other)
        self.keeps_code = sys.getrefcount(code) == alive > kept


@coroutine
def trap() -> Generator[None, None, None]:
    yield


async def _probe(one: object, two: object) -> int:
    await trap()
    await trap()
    return 0


async def _handling() -> None:
    try:
        raise KeyError
    except KeyError as error:
        await _hand(error)


@coroutine
def _hand(value: object) -> Generator[object, None, None]:
    yield value


def _words(suspended: Any) -> list[int]:
    raw = string_at(id(suspended), suspended.__sizeof__() // WORD * WORD)
    return list(unpack_from(f"<{len(raw) // WORD}Q", raw))


def step(coro: Any) -> int | None:
    try:
        coro.send(None)
    except StopIteration as stop:
        return int(stop.value)
    return None


def finish(coro: Any) -> int:
    while True:
        value = step(coro)
        if value is not None:
            return value
