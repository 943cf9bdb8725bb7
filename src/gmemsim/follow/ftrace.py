"""Kernel ftrace text (`TASK-PID [CPU] flags seconds: event: fields`), plain or gzip, one event at a time."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["KernelEvent", "TraceError", "parse_line", "read_trace"]

_LINE = re.compile(r"\s*(.+)-(\d+)\s+\[(\d+)\]\s+\S+\s+(\d+)\.(\d+): ([A-Za-z_]\w*): ?(.*)")


class TraceError(Exception):
    """The file is no readable trace; the message names file and line."""


class KernelEvent(NamedTuple):
    """One event of the trace.

    Attributes:
        line: line number in the file, from 1.
        time_us: timestamp in microseconds.
        thread: `comm-pid`.
        name: event or probe name.
        args: the rest of the line.
    """

    line: int
    time_us: int
    thread: str
    name: str
    args: str


def parse_line(text: str, line: int = 0) -> KernelEvent | None:
    """One line, or None for comments and blank lines.

    Raises:
        ValueError: the line is no event.
    """
    match = _LINE.match(text)
    if match is None:
        if not text.strip() or text.lstrip().startswith("#"):
            return None
        raise ValueError("expected 'TASK-PID [CPU] flags seconds: event: …'")
    comm, pid, _cpu, seconds, fraction, name, args = match.groups()
    time_us = int(seconds) * 1_000_000 + int(fraction.ljust(6, "0")[:6])
    return KernelEvent(line, time_us, f"{comm}-{pid}", name, args)


def read_trace(path: Path) -> Iterator[KernelEvent]:
    """Every event of the file, in order.

    Raises:
        TraceError: the file cannot be read, a line is damaged, or it holds no event at all.
    """
    line = 0
    events = 0
    try:
        with (
            gzip.open(path, "rt", errors="replace") if _is_gzip(path) else path.open(errors="replace") as file
        ):
            for line, text in enumerate(file, 1):
                try:
                    event = parse_line(text, line)
                except ValueError as error:
                    raise TraceError(f"{path}:{line}: {error}, got {text.strip()[:60]!r}") from None
                if event is not None:
                    events += 1
                    yield event
    except (OSError, EOFError) as error:
        raise TraceError(f"{path}: after line {line}: {error}") from None
    if not events:
        raise TraceError(f"{path}: no event in it; expected ftrace text")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
