"""Digests of what a kept result follows from: the sources of the model, and files of users."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def of_model(*rooms: str) -> str:
    """Of the Python files in these folders of the package."""
    digest = blake2b(digest_size=8)
    root = Path(__file__).parents[1]
    for room in rooms:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_text(encoding="utf-8").encode())
    return digest.hexdigest()


def of_files(names: Iterable[str]) -> dict[str, str]:
    """Of users' files (`file.py:Class`, a cost table, a scenario), by the name that they were given by."""
    found = {}
    for name in names:
        path = next((path for path in (Path(name.rpartition(":")[0]), Path(name)) if path.is_file()), None)
        if path is not None:
            found[name] = blake2b(path.read_bytes(), digest_size=8).hexdigest()
    return found
