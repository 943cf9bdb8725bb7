"""First and last line of a log: what run it is of, and that it is all there.

The header is `{"log":"gmemsim","schema":1,"scenario":…,"patch":…,"arch":…,"seed":…}` with whatever else
the writer knew after it; the last line is `{"end":"gmemsim","events":N}`. Neither holds a wall-clock time, so
that one run, repeated, is one file.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

#: Version of the log's format. It changes when a reader of the old format would misread the new one.
SCHEMA = 1

_LOG = "gmemsim"
_FIXED = ("log", "schema", "scenario", "patch", "arch", "seed")
_TYPES: dict[str, tuple[type, ...]] = {
    "scenario": (str,),
    "patch": (str,),
    "arch": (str,),
    "seed": (int, type(None)),
}

END_PREFIX = b'{"end":'
_END = re.compile(rb'\{"end":"gmemsim","events":(0|[1-9][0-9]{0,18})\}')


class Header(msgspec.Struct, frozen=True):
    """Which run a log is of.

    Attributes:
        seed: None for a run in which nothing was drawn.
        more: further context, written after the fixed keys in alphabetical order.
    """

    scenario: str = ""
    patch: str = ""
    arch: str = ""
    seed: int | None = None
    more: dict[str, str | int | bool | None] = {}

    def __post_init__(self) -> None:
        taken = [key for key in self.more if key in _FIXED]
        if taken:
            raise ValueError(f"header: {taken[0]!r} has a place of its own")

    def context(self) -> dict[str, Any]:
        """The keys that the header binds, in the order in which it writes them."""
        fixed = {"scenario": self.scenario, "patch": self.patch, "arch": self.arch, "seed": self.seed}
        return fixed | dict(sorted(self.more.items()))

    def line(self) -> bytes:
        """The first line, with its newline."""
        return msgspec.json.encode({"log": _LOG, "schema": SCHEMA} | self.context()) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Header:
        """The header that `line` (without newline) holds.

        Raises:
            ValueError: it is none, or of another schema; the message says what was expected.
        """
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("log") != _LOG:
            raise ValueError('expected the header {"log":"gmemsim",…}, found ' + excerpt(line))
        if key := given_twice(line):
            raise ValueError(f"the header has {key!r} twice")
        schema = found.get("schema")
        if type(schema) is not int or schema != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, found {excerpt(msgspec.json.encode(schema))}")
        for key, types in _TYPES.items():
            if key not in found:
                raise ValueError(f"the header has no {key!r}")
            if type(found[key]) not in types:
                names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
                value = excerpt(msgspec.json.encode(found[key]))
                raise ValueError(f"header, {key!r}: expected {names}, found {value}")
        more = {key: value for key, value in found.items() if key not in _FIXED}
        for key, value in more.items():
            if not isinstance(value, (str, int, type(None))):
                raise ValueError(f"header, {key!r}: expected a string, an integer, true, false or null")
        return cls(found["scenario"], found["patch"], found["arch"], found["seed"], more)


def given_twice(line: bytes) -> str:
    """The first key that the JSON object `line` has more than once, or nothing: decoders take the last silently."""
    seen: set[str] = set()
    for key, _ in json.loads(line, object_pairs_hook=list):
        if key in seen:
            return str(key)
        seen.add(key)
    return ""


def end_line(events: int) -> bytes:
    """The last line of a log of `events` events, with its newline."""
    return b'{"end":"gmemsim","events":%d}\n' % events


def parse_end(line: bytes) -> int | None:
    """Number of events that the end line `line` (without newline) states; None if it is none."""
    match = _END.fullmatch(line)
    return int(match[1]) if match else None


def excerpt(line: bytes, limit: int = 60) -> str:
    """The beginning of a damaged line, fit for a one-line message."""
    text = line[: limit + 1].decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if not text:
        return "an empty line"
    return text if len(line) <= limit else text[:limit] + "…"
