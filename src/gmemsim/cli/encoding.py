"""Output in whatever encoding the terminal has: what it lacks is written another way, and nothing is lost for it."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import Final

__all__ = ["any_text"]

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


def any_text() -> None:
    """Have stdout and stderr take any text; a stderr that is closed takes it and drops it."""
    codecs.register_error("gmemsim", _written_otherwise)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="gmemsim")


def _written_otherwise(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(char) or _escaped(char) for char in text), error.end


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode()
