"""Reading what others wrote: never more of it than any true file of its kind has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class TooLarge(ValueError):
    """More bytes than a file of this kind has, or nested deeper; the message is one line."""


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file, a pipe or a device.

    Raises:
        TooLarge: there are more than `most`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TooLarge(f"more than {most >> 20} MiB")
    return data


def json_value(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, is nested without end, or an object in it has a key twice.
    """
    import msgspec

    try:
        found = msgspec.json.decode(data)
        twice = key_twice(data)
    except RecursionError:
        raise TooLarge("nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    if twice:
        raise ValueError(f"{twice!r} twice in one object")
    return found


def key_twice(data: bytes) -> str:
    """The first key that an object of a JSON text has twice, at any depth, or nothing: decoders take the last silently.

    Raises:
        RecursionError: it is nested too deep.
    """
    found: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found.append(name)
            seen.add(name)

    # Of numbers the text will do; those of many digits would be refused.
    json.loads(data, object_pairs_hook=look, parse_int=str, parse_float=str)
    return found[0] if found else ""


def clean(text: str, most: int = 400) -> str:
    """Text of others in one line for a terminal: control characters written out, and not without end."""
    text = " ".join(text[: 2 * most].split())
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
