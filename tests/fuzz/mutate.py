"""Mutations of bytes and of values, from a seeded generator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from random import Random

__all__ = ["mutated_bytes", "mutated_value"]

#: What people and machines put where something else belongs.
_WORDS: Final = (
    b"", b"0", b"-1", b"1", b"2147483648", b"9223372036854775808", b"1e30", b"1e400", b"nan",
    b"9" * 400, b"0x" + b"f" * 40,
    b"true", b"null", b'""', b"[]", b"{}", b"[" * 400, b"{" * 60, b'"', b"'", b"\\", b"\n", b"\r\n", b"\0", b"\x1b[31m",
    b"[/]", b"[bold]", b"\xff\xfe", "\u202e".encode(), "\ud7ff".encode(), b"\xed\xa0\x80", b"$x",
    b"..", b"../..", b"=", b"#",
    b"A" * 5_000, b"v3", b"inplace", b"snp", b"gmem0", b"vcpu", b"punch", b"\t", b" " * 3_000,
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 7, 4097, 1 << 20, 1 << 31, 1 << 53, (1 << 63) - 1, 1.5, -0.0, 1e30, "", "x", "v3",
    "snp",
    "gmem0", "a" * 3_000, "[/]", "\0", "\u202e", "1e30", "300us", "99999999999s", [], [[]], [1, 2], ["x"], {}, {"x": 1},
    [[[[[[[[]]]]]]]],
)  # fmt: skip
_WORD: Final = re.compile(rb"[A-Za-z0-9_.+-]+")


def mutated_bytes(random: Random, data: bytes) -> bytes:
    """One to four changes: bits, pieces, words, lines."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(_CHANGES)(random, data)
    return data


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _drop(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.randrange(1, 40) :]


def _again(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    piece = data[at : at + random.randrange(1, 200)]
    return data[:at] + piece * random.choice((2, 3, 50)) + data[at:]


def _insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(_WORDS) + data[at:]


def _replace(random: Random, data: bytes) -> bytes:
    words = list(_WORD.finditer(data))
    if not words:
        return data
    word = random.choice(words)
    other = random.choice(words)[0] if random.random() < 0.4 else random.choice(_WORDS)
    return data[: word.start()] + other + data[word.end() :]


def _lines(random: Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    if random.random() < 0.5:
        lines[one], lines[two] = lines[two], lines[one]
    else:
        del lines[one]
    return b"\n".join(lines)


_CHANGES: Final = (_flip, _cut, _drop, _again, _insert, _replace, _replace, _lines)


def mutated_value(random: Random, value: Any) -> Any:
    """One value within `value` becomes another, goes, or comes twice; dicts may get a key that nobody knows."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        found = dict(value)
        match random.randrange(6):
            case 0:
                del found[key]
            case 1:
                found[random.choice(("zzz", "", f"{key}x", "op", "id"))] = random.choice(_VALUES)
            case _:
                found[key] = mutated_value(random, value[key])
        return found
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        items = list(value)
        match random.randrange(6):
            case 0:
                del items[at]
            case 1:
                items.insert(at, random.choice(items))
            case _:
                items[at] = mutated_value(random, items[at])
        return items
    if isinstance(value, bytes) and random.random() < 0.8:
        return mutated_bytes(random, value)
    if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.5:
        return value + random.choice((-1, 1, 1 << 16, -value - 1))
    return random.choice(_VALUES)
