"""Results as one flat table, a row a point and lock, the point's own figures repeated: CSV, and Parquet."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import attrs

from .point import Point
from .result import LockFigures, Result
from .waste import Waste

#: Reasons of the event `retry`; a column each.
REASONS: Final = ("early", "late", "stale", "invalid_slot", "spte")
_POINT: Final = {field.name: str(field.type) for field in attrs.fields(Point)}
#: Tables of their own in the JSON document; a row here has one lock.
_TABLES: Final = ("point", "locks", "spins", "perf", "sites", "waste")
_OWN: Final = [field.name for field in attrs.fields(Result) if field.name not in _TABLES]
_WASTE: Final = [*(f"retries_{reason}" for reason in REASONS), "false_retries", "prepares", "no_ops"]
_DERIVED: Final = {"faults_per_ms": "DOUBLE", "bottleneck": "VARCHAR", "bottleneck_share": "DOUBLE"}
_LOCK: Final = [field.name for field in attrs.fields(LockFigures)]
_SQL: Final = {"str": "VARCHAR", "int": "BIGINT", "bool": "BOOLEAN", "float": "DOUBLE"}


def _columns() -> dict[str, str]:
    """Names in order, with their SQL types."""
    return {
        **{name: _SQL[kind] for name, kind in _POINT.items()},
        **dict.fromkeys([*_OWN, *_WASTE], "BIGINT"),
        **_DERIVED,
        "lock": "VARCHAR",
        "mode": "VARCHAR",
        **dict.fromkeys(_LOCK, "BIGINT"),
    }


def _rows(results: Iterable[Result]) -> Iterable[list[Any]]:
    for result in results:
        waste, most = result.waste, result.bottleneck
        own = [
            *(getattr(result.point, name) for name in _POINT),
            *(getattr(result, name) for name in _OWN),
            *(waste.retries.get(reason, 0) for reason in REASONS),
            *(waste.false_retries, waste.prepares, waste.no_ops),
            *(round(result.faults_per_ms, 6), most.name, round(most.share, 6)),
        ]
        for name, found in (result.locks or {"": LockFigures()}).items():
            lock, _, mode = name.rpartition(":")
            yield [*own, lock, mode, *attrs.astuple(found)]


def to_csv(results: Iterable[Result]) -> str:
    """All figures; a point that took no lock has one line with an empty `lock`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_columns())
    writer.writerows(_rows(results))
    return out.getvalue()


def to_parquet(results: Iterable[Result]) -> bytes:
    """The same table as a Parquet file (zstd).

    Raises:
        ImportError: duckdb is not installed.
    """
    import duckdb

    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "in.csv"), Path(directory, "out.parquet")
        source.write_text(to_csv(results))
        # An in-memory database of our own, and names that the caller has no part in.
        with duckdb.connect() as database:
            table = database.read_csv(str(source), header=True, columns=_columns(), na_values="\\N")
            table.write_parquet(str(target), compression="zstd")
        return target.read_bytes()


def read_csv(text: str) -> list[Result]:
    """The results that `to_csv` wrote, without what the table has no room for (`spins`, `sites`, `perf`).

    Raises:
        ValueError, KeyError: it did not.
    """
    results: list[Result] = []
    for row in csv.DictReader(io.StringIO(text)):
        values: dict[str, Any] = {name: _value(row[name], kind) for name, kind in _POINT.items()}
        point = Point(**values)
        if not results or results[-1].point != point:
            own: dict[str, Any] = {name: int(row[name]) for name in _OWN}
            retries = {reason: int(row[f"retries_{reason}"]) for reason in REASONS}
            counts = {name: int(row[name]) for name in ("false_retries", "prepares", "no_ops")}
            waste = Waste({reason: count for reason, count in sorted(retries.items()) if count}, **counts)
            results.append(Result(point, **own, locks={}, waste=waste))
        if row["lock"]:
            found = LockFigures(*(int(row[name]) for name in _LOCK))
            results[-1].locks[f"{row['lock']}:{row['mode']}"] = found
    return results


def _value(text: str, kind: str) -> str | int | bool | float:
    if kind == "bool":
        return {"True": True, "False": False}[text]
    if kind == "float":
        return float(text)
    return int(text) if kind == "int" else text
