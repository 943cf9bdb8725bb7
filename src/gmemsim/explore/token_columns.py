"""Choices as columns of small numbers: what changes little from choice to choice then compresses to almost nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from ..engine.tape import Tape
from .token_names import TokenError

#: Bytes of a number: more than 64 bits no choice has.
_LONGEST: Final = 10


class Columns(msgspec.Struct, array_like=True, frozen=True):
    """A tape. Every column is a sequence of LEB128 numbers, one a choice.

    Attributes:
        names: tasks and labels.
        tasks, labels: positions in `names`.
        calls: how far a task's call is from that of its choice before, zigzag: 0, -1, 1, -2, …
        values, bounds: as they are.
    """

    names: list[str]
    count: int
    tasks: bytes
    labels: bytes
    calls: bytes
    values: bytes
    bounds: bytes


def pack(tape: Tape) -> Columns:
    """The columns of a tape."""
    numbers: dict[str, int] = {}
    tasks, labels, calls, values, bounds = (bytearray() for _ in range(5))
    last: dict[str, int] = {}
    for task, call, label, value, bound in tape.raw:
        _put(tasks, numbers.setdefault(task, len(numbers)))
        _put(labels, numbers.setdefault(label, len(numbers)))
        step = call - last.get(task, 0)
        last[task] = call
        _put(calls, 2 * step if step >= 0 else -2 * step - 1)
        _put(values, value)
        _put(bounds, bound)
    columns = (bytes(tasks), bytes(labels), bytes(calls), bytes(values), bytes(bounds))
    return Columns(list(numbers), len(tape), *columns)


def unpack(columns: Columns) -> Tape:
    """The tape.

    Raises:
        TokenError: the columns do not fit together.
    """
    names = columns.names
    count = columns.count
    columns_of = (columns.tasks, columns.labels, columns.calls, columns.values, columns.bounds)
    if not all(count <= len(column) <= _LONGEST * count for column in columns_of):
        raise TokenError("the token is damaged: its choices are incomplete")
    parts = [_numbers(column) for column in columns_of]
    if any(len(part) != count for part in parts):
        raise TokenError("the token is damaged: its choices are incomplete")
    raw: list[tuple[str, int, str, int, int]] = []
    last: dict[str, int] = {}
    for who, what, step, value, bound in zip(*parts, strict=True):
        if who >= len(names) or what >= len(names) or value >= bound:
            raise TokenError(f"the token is damaged: choice {len(raw)} makes no sense")
        task = names[who]
        last[task] = call = last.get(task, 0) + (-(step + 1) // 2 if step % 2 else step // 2)
        raw.append((task, call, names[what], value, bound))
    return Tape(raw)


def _put(column: bytearray, number: int) -> None:
    while number > 0x7F:
        column.append(number & 0x7F | 0x80)
        number >>= 7
    column.append(number)


def _numbers(column: bytes) -> list[int]:
    found: list[int] = []
    number = shift = 0
    for byte in column:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 7 * _LONGEST:
            raise TokenError("the token is damaged: a number is too long")
        if byte < 0x80:
            found.append(number)
            number = shift = 0
    if shift:
        raise TokenError("the token is damaged: a number has no end")
    return found
