"""Files that appear whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from .bad_input import BadInput


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Write all of them beside their names, then move them into place, in order.

    Raises:
        BadInput: the system refuses; nothing is there that was not, unless it refuses to rename.
    """
    written: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.new")
            written[path] = fresh
            fresh.write_bytes(data)
        for path, fresh in written.items():
            fresh.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    finally:
        for fresh in written.values():
            fresh.unlink(missing_ok=True)
