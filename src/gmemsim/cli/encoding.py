"""Output in whatever encoding the terminal has: what it lacks is written another way, and nothing is lost for it.

A reader that goes away (`gmemsim explore … | head`) has read what it wanted. The command goes on to its verdict all the
same, since its exit code is an answer as well: 0 for a search that found something would say that it found nothing.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_INSTEAD: Final = {
    "…": "...",
    "\N{EN DASH}": "-",
    "→": "->",
    "·": ".",
    "µ": "u",
    "✓": "yes",
    "✗": "no",
    "■": "#",
}


class _Output(io.TextIOWrapper):
    """A stdout that drops what nobody reads."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            drop_output()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            drop_output()
            super().flush()


def drop_output() -> None:
    """What is still to be written to stdout goes nowhere; the interpreter does not complain at exit either."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def any_text() -> None:
    """Have stdout and stderr take any text; a stderr that is closed takes and drops it, and a stdout without reader."""
    codecs.register_error("gmemsim", _written_otherwise)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper):
        now = sys.stdout
        sys.stdout = _Output(now.buffer, now.encoding, now.errors, line_buffering=now.line_buffering)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="gmemsim")


def _written_otherwise(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(char) or _escaped(char) for char in text), error.end


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode()
