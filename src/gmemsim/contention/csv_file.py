"""Results as CSV: one line a point and lock, the point's own figures repeated."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import attrs

from .point import Point
from .result import LockFigures, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_csv", "to_csv"]

_POINT = [field.name for field in attrs.fields(Point)]
#: Tables of their own in the JSON document; a line of CSV has one lock.
_TABLES = ("point", "locks", "spins", "perf")
_OWN = [field.name for field in attrs.fields(Result) if field.name not in _TABLES]
_LOCK = [field.name for field in attrs.fields(LockFigures)]


def to_csv(results: Iterable[Result]) -> str:
    """All figures; a point that took no lock has one line with an empty `lock`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_POINT, *_OWN, "lock", "mode", *_LOCK])
    for result in results:
        own = [*(getattr(result.point, name) for name in _POINT), *(getattr(result, name) for name in _OWN)]
        for name, found in (result.locks or {"": LockFigures()}).items():
            lock, _, mode = name.rpartition(":")
            writer.writerow([*own, lock, mode, *attrs.astuple(found)])
    return out.getvalue()


def read_csv(text: str) -> list[Result]:
    """The results that `to_csv` wrote, without what CSV has no room for (`spins`, `perf`).

    Raises:
        ValueError, KeyError: it did not.
    """
    results: list[Result] = []
    for row in csv.DictReader(io.StringIO(text)):
        kinds = {field.name: field.type for field in attrs.fields(Point)}
        values: dict[str, Any] = {name: _value(row[name], str(kinds[name])) for name in _POINT}
        point = Point(**values)
        if not results or results[-1].point != point:
            own: dict[str, Any] = {name: int(row[name]) for name in _OWN}
            results.append(Result(point, **own, locks={}))
        if row["lock"]:
            found = LockFigures(*(int(row[name]) for name in _LOCK))
            results[-1].locks[f"{row['lock']}:{row['mode']}"] = found
    return results


def _value(text: str, kind: str) -> str | int | bool:
    if kind == "bool":
        return {"True": True, "False": False}[text]
    return int(text) if kind == "int" else text
