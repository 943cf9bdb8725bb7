"""Bytes of a page as a content token of the model.

The model keeps one token a frame. A vector speaks of bytes, so what it writes is `data:` and the runs of equal bytes
in the page: `data:aa` is a page of 0xaa, `data:00,10@41,11@00` a page of zeros with 0x41 at offset 0x10. Zeroed frames
read as zeros; stale and ciphertext bytes are equal to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...arch.memory import ZERO
from ..units import PAGE

_DATA: Final = "data:"


def whole(byte: int) -> str:
    """The token of a page of equal bytes."""
    return ZERO if byte == 0 else f"{_DATA}{byte:02x}"


def text(token: str) -> str:
    """What an operation of scenarios stores to make it that."""
    return token.removeprefix(_DATA)


def pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(page, first byte, end byte) of each page that [offset, offset + length) touches."""
    end = offset + length
    while offset < end:
        page = offset // PAGE
        until = min(end, (page + 1) * PAGE)
        yield page, offset - page * PAGE, until - page * PAGE
        offset = until


def _runs(token: str) -> list[tuple[int, int | None]]:
    """(offset, byte from there on); None is a byte that equals nothing."""
    if token == ZERO:
        return [(0, 0)]
    if not token.startswith(_DATA):
        return [(0, None)]
    runs: list[tuple[int, int | None]] = []
    for part in token.removeprefix(_DATA).split(","):
        at, mark, byte = part.rpartition("@")
        try:
            runs.append((int(at, 16) if mark else 0, None if byte == "??" else int(byte, 16)))
        except ValueError:
            return [(0, None)]
    return runs


def write_bytes(token: str, start: int, end: int, byte: int) -> str:
    """The token after bytes [start, end) of the page became `byte`."""
    if (start, end) == (0, PAGE):
        return whole(byte)
    cells: list[tuple[int, int | None]] = []
    runs = _runs(token)
    for position, (offset, value) in enumerate(runs):
        until = runs[position + 1][0] if position + 1 < len(runs) else PAGE
        if offset < start:
            cells.append((offset, value))
        if until > end:
            cells.append((max(offset, end), value))
    cells.append((start, byte))
    cells.sort(key=lambda cell: cell[0])
    merged: list[tuple[int, int | None]] = []
    for offset, value in cells:
        if not merged or merged[-1][1] != value or value is None:
            merged.append((offset, value))
    if len(merged) == 1 and merged[0][1] is not None:
        return whole(merged[0][1])
    return _DATA + ",".join(
        f"{offset:x}@{'??' if value is None else f'{value:02x}'}" for offset, value in merged
    )


def read_bytes(token: str, start: int, end: int) -> set[int | None]:
    """The different bytes in [start, end) of the page; None stands for bytes that are not known."""
    runs = _runs(token)
    found: set[int | None] = set()
    for position, (offset, value) in enumerate(runs):
        until = runs[position + 1][0] if position + 1 < len(runs) else PAGE
        if offset < end and start < until:
            found.add(value)
    return found
