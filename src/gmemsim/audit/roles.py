"""What the fields of events mean to a comparison: pages, frames, tasks, locks, or just values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import kvm_events as kvm

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Event
    from .identity import Operation

__all__ = ["PLACES", "Page", "is_label", "key_of", "page_of_key", "span_of_key"]

#: Page of an event: `i` file index or `g` guest frame, and its distance from the operation's first such page.
Page = tuple[str, int]
#: Fields that place an event, so that the same event elsewhere differs in them.
PLACES = frozenset({"end", "gfn", "gpa", "index", "start"})

# Events whose start and end are not file indices.
_GUEST_RANGES = (kvm.Zap, kvm.SetAttributes, kvm.AttrStore, kvm.ArchInvalidateRange)
_FRAME_RANGES = (kvm.ArchInvalidate,)
# Events that give a range by its first page and a number; elsewhere `pages` is the size of one folio.
_COUNTED = (kvm.Populate,)

_INDEXED = re.compile(r"(.*)\[(\d+)\]")
_NUMBERED = re.compile(r"\b(gfn|pfn|index|page)=(0x[0-9a-f]+|\d+)")

# The code of a field's value, as an expression over `event`, `op` and the functions below. `op.index` and
# `op.gfn` are set before any of them is evaluated.
_EXPRESSIONS = {
    "at": "'self' if event.{0} == op.actor else event.{0}",
    "detail": "detail(event.{0})",
    "frame_end": "event.{0} - event.start",
    "gfn": "event.{0} - op.gfn",
    "gpa": "(event.{0} >> 12) - op.gfn",
    "id": "0",
    "index": "event.{0} - op.index",
    "lock": "label(op, event.{0})",
    "pfn": "frame(op, event.{0})",
    "to": "'self' if event.{0} == op.actor else event.{0}",
}
_FIRST = {
    "gfn": "if op.gfn is None: op.gfn = event.{0}",
    "gpa": "if op.gfn is None: op.gfn = event.{0} >> 12",
    "index": "if op.index is None: op.index = event.{0}",
}
# Where a frame that is met for the first time gets its name from.
_AT = {"gfn": "op.at = event.gfn - op.gfn", "index": "op.at = event.index - op.index"}


def key_of(cls: type[Event]) -> Callable[[Event, Operation], tuple[Any, ...]]:
    """A function `(event, operation)` that gives the coded values of the event's fields.

    It is compiled for the class, as the standard library does for data classes: it runs for every event of
    two logs, and a loop over the fields takes twice as long.
    """
    statements: list[str] = []
    values: list[str] = []
    for name in cls.__struct_fields__:
        role = _role(cls, name)
        if role in _FIRST:
            statements.append(_FIRST[role].format(name))
        values.append(_EXPRESSIONS.get(role, "event.{0}").format(name))
    statements += [_AT[name] for name in ("gfn", "index") if name in cls.__struct_fields__]
    body = "\n ".join((*statements, f"return ({''.join(f'{value}, ' for value in values)})"))
    names: dict[str, Any] = {"detail": _detail, "frame": _frame, "label": _label}
    exec(f"def key(event, op):\n {body}\n", names)
    key: Callable[[Event, Operation], tuple[Any, ...]] = names["key"]
    return key


def _role(cls: type[Event], name: str) -> str:
    """The field whose treatment field `name` of `cls` shares."""
    if name not in ("start", "end"):
        return name
    if cls in _GUEST_RANGES:
        return "gfn"
    if cls in _FRAME_RANGES:
        return "pfn" if name == "start" else "frame_end"
    return "index"


def page_of_key(cls: type[Event], values: tuple[Any, ...]) -> Page | None:
    """The page that an event with these coded values is about; an index says more than a guest frame."""
    fields: dict[str, Any] = dict(zip(cls.__struct_fields__, values, strict=True))
    if cls in _COUNTED and fields["pages"] != 1:
        return None
    for name, space in (("index", "i"), ("gfn", "g"), ("gpa", "g")):
        if name in fields:
            return space, fields[name]
    if is_label(fields.get("lock")):
        return "i", fields["lock"][1]
    span = span_of_key(cls, values)
    return span[0] if span is not None and span[1] == 1 else None


def span_of_key(cls: type[Event], values: tuple[Any, ...]) -> tuple[Page, int] | None:
    """The first page and the number of pages of an event that is about a range."""
    fields: dict[str, Any] = dict(zip(cls.__struct_fields__, values, strict=True))
    if cls in _COUNTED:
        return ("g", fields["gfn"]), fields["pages"]
    if cls in _FRAME_RANGES or "start" not in fields or "end" not in fields:
        return None
    return ("g" if cls in _GUEST_RANGES else "i", fields["start"]), fields["end"] - fields["start"]


def is_label(value: Any) -> bool:
    """Whether a coded value is the name of a page's lock, and not of another one."""
    return isinstance(value, tuple)


def _frame(operation: Operation, value: int) -> int | str:
    """`0` is the first frame that the operation met on its first page, `2.1` the second one two pages on."""
    if value < 0:
        # An errno, or no frame.
        return value
    name = operation.frames.get(value)
    if name is None:
        at = operation.at
        number = operation.met.get(at, 0)
        operation.met[at] = number + 1
        name = operation.frames[value] = f"{at}.{number}" if at else str(number)
    return name


def _label(operation: Operation, value: str) -> str | tuple[str, int]:
    parts = _parts(value)
    if parts is None:
        return value
    if operation.index is None:
        operation.index = parts[1]
    return parts[0], parts[1] - operation.index


@lru_cache(maxsize=1 << 16)
def _parts(label: str) -> tuple[str, int] | None:
    """`gmem0.folio[3]` is the lock `gmem0.folio` of page 3; other locks belong to no page."""
    match = _INDEXED.fullmatch(label)
    return (match[1], int(match[2])) if match else None


@lru_cache(maxsize=1 << 16)
def _detail(value: str) -> str:
    """Without the numbers that the event of the hook itself gives."""
    return _NUMBERED.sub(r"\1", value)
