"""Output files appear whole or not at all."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_directory", "check_writable", "write_whole"]


def check_directory(path: Path | None) -> None:
    """Refuse a file name whose directory is not there, before anything is run.

    Raises:
        InputError: it is not.
    """
    if path is not None and not path.parent.is_dir():
        raise InputError(f"{path}: no such directory")


def check_writable(*paths: Path | None) -> None:
    """Refuse what can't be an output file before anything is run.

    Raises:
        InputError: no such directory, or something that is no regular file has the name.
    """
    for path in paths:
        check_directory(path)
        if path is not None and path.exists() and not path.is_file():
            raise InputError(f"{path}: not a regular file")


def write_whole(path: Path, data: bytes) -> None:
    """Write beside `path` and move into place; a symbolic link stays one.

    Raises:
        InputError: the system refuses; `path` is what it was.
    """
    check_writable(path)
    path = path.resolve()
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: {error.strerror}") from None
