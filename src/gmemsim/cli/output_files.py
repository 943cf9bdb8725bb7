"""Output files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .. import whole_files
from .errors import InputError


def check_directory(path: Path | None) -> None:
    """Refuse a file name whose directory is not there, before anything is run.

    Raises:
        InputError: it is not.
    """
    if path is not None and not path.parent.is_dir():
        raise InputError(f"{path}: no such directory")


def check_writable(*paths: Path | None, inputs: Iterable[str] = ()) -> None:
    """Refuse what can't be an output file before anything is run.

    Args:
        inputs: what the command was given to read: names of files, `file.py:Class`, `@file`, or other words.

    Raises:
        InputError: no such directory, something that is no regular file has the name, it is the name of two outputs, or
            it is what the command reads.
    """
    read = {_real(Path(word.removeprefix("@"))) for word in inputs}
    read |= {_real(Path(word.rpartition(":")[0])) for word in inputs if ":" in word}
    written: set[str] = set()
    for path in paths:
        if path is None:
            continue
        check_directory(path)
        real = _real(path)
        if os.path.lexists(real) and not Path(real).is_file():
            raise InputError(f"{path}: not a regular file")
        if real in read:
            raise InputError(f"{path}: is what the command reads; give another name to write to")
        if real in written:
            raise InputError(f"{path}: is given for two files")
        written.add(real)


def _real(path: Path) -> str:
    """Where a name leads; a circle of links leads to one of them."""
    return os.path.realpath(path)


def write_whole(path: Path, data: bytes) -> None:
    """Write beside `path` and move into place; a symbolic link stays one.

    Raises:
        BadInput: the system refuses; `path` is what it was.
    """
    check_writable(path)
    whole_files.write_whole({Path(_real(path)): data})
