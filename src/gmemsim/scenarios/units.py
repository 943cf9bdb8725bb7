"""Sizes (`"256K"`) and durations (`"300us"`, `"100us..500us"`) as scenarios write them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

PAGE: Final = 4096

_SIZE = re.compile(r"(\d{1,18})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIME = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(ns|us|µs|ms|s)")
_TIME_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class Duration(NamedTuple):
    """Virtual nanoseconds, drawn from [low, high]; a fixed time has both equal."""

    low: int
    high: int


def size_bytes(value: int | str) -> int:
    """Bytes of `4096`, `"4096"`, `"256K"`, `"2M"`, `"1G"`.

    Raises:
        ValueError: with what was expected.
    """
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f'expected a size such as 262144, "256K" or "2M", got {value!r:.60}')
    return int(match[1]) * _SIZE_UNITS[match[2].upper()]


@lru_cache(maxsize=1024)
def duration(value: int | str) -> Duration:
    """Nanoseconds of `300` (ns), `"300us"`, or of a range `"100us..500us"`.

    Raises:
        ValueError: with what was expected.
    """
    if isinstance(value, int):
        low = high = value
    else:
        first, dots, second = value.partition("..")
        low = _time(first, value)
        high = _time(second, value) if dots else low
    if not 0 <= low <= high:
        raise ValueError(f"expected a time of 0 or more, the smaller end of a range first, got {value!r:.60}")
    return Duration(low, high)


def _time(text: str, whole: str) -> int:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f'expected a time such as "300us" or "100us..2ms", or ns as a number, got {whole!r:.60}'
        )
    return round(float(match[1]) * _TIME_UNITS[match[2]])
