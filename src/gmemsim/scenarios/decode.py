"""From TOML text to the tables of `model`, with errors that name file, line and field."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from ..nearest import hint, nearest
from .errors import ScenarioError
from .lines import Path
from .model import (
    ConditionTable,
    Document,
    FileTable,
    Head,
    MapTable,
    SetupTable,
    SlotTable,
    TaskTable,
    VmTable,
)
from .ops import ALIASES, OPS, canonical
from .own import document_type
from .source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Scalar

_TABLES: dict[str, type[msgspec.Struct]] = {
    "scenario": Head, "vm": VmTable, "file": FileTable, "slot": SlotTable, "map": MapTable,
    "setup": SetupTable, "task": TaskTable, "condition": ConditionTable,
}  # fmt: skip
_ARRAYS = ("vm", "file", "slot", "map", "task", "condition")
_WHERE = re.compile(r"^(?P<message>.*?)(?: - at `(?:key in )?(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")


def substitute(source: Source, parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    """The raw document with every `"$name"` replaced by that parameter.

    Raises:
        ScenarioError: no such parameter.
    """

    def fill(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner, (*path, key)) for key, inner in canonical(value).items()}
        if isinstance(value, list):
            return [fill(inner, (*path, position)) for position, inner in enumerate(value)]
        if isinstance(value, str) and value.startswith("$"):
            if value[1:] not in parameters:
                known = ", ".join(f"${name}" for name in parameters) or "none"
                raise source.error(path, f"{value} is no parameter (there are: {known})")
            return parameters[value[1:]]
        return value

    skip = ("parameters", "small")
    return {key: value if key in skip else fill(value, (key,)) for key, value in source.raw.items()}


def decode(source: Source, values: dict[str, Any]) -> Document:
    """The document as structs.

    Raises:
        ScenarioError: unknown or missing key, wrong type, value out of range.
    """
    for key in _ARRAYS:
        if isinstance(values.get(key), dict):
            raise source.error((key,), f"expected [[{key}]], an array of tables, not [{key}]")
    try:
        return msgspec.convert(values, document_type())
    except msgspec.ValidationError as error:
        raise _translate(source, values, str(error)) from None


def _translate(source: Source, values: dict[str, Any], text: str) -> ScenarioError:
    match = _WHERE.match(text)
    assert match is not None
    message = match["message"]
    path: Path = ()
    for name, position in _STEP.findall(match["path"] or ""):
        if position == "...":
            path += (_culprit(values, path),)
        else:
            path += (int(position) if position else name,)
    here = _at(values, path)
    if unknown := _UNKNOWN.match(message):
        return source.error((*path, unknown[1]), f"unknown key; {hint(unknown[1], _keys(values, path))}")
    if missing := _MISSING.match(message):
        return source.error(path, f"the key {missing[1]} is missing")
    if path and path[-1] == "op":
        near = nearest(str(here), sorted([*OPS, *ALIASES]))
        return source.error(path, f"unknown op {here!r}; {hint(str(here), near or sorted(OPS))}")
    if message.startswith("Invalid enum value"):
        choices = _choices(values, path)
        return source.error(path, f"expected one of {choices}, got {here!r}")
    message = message[0].lower() + message[1:].replace("`", "")
    if here is not None and ", got " not in message:
        message += f", got {here!r}"
    return source.error(path, message)


def _at(values: Any, path: Path) -> Any:
    for step in path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _culprit(values: dict[str, Any], path: Path) -> str:
    """The key that msgspec writes as `[...]`: the first whose value such a table cannot have."""
    table = _at(values, path)
    if not isinstance(table, dict) or not table:
        return "..."
    for key, value in table.items():
        if path == ("faults",):
            good = isinstance(value, int) and value >= 0
        else:
            good = isinstance(value, (int, str))
        if not good:
            return str(key)
    return str(next(iter(table)))


def _struct(values: dict[str, Any], path: Path) -> type[msgspec.Struct]:
    """The struct that the table at `path` is decoded into."""
    here = _at(values, path)
    if isinstance(here, dict) and "op" in here:
        return OPS.get(str(here["op"]), Document)
    return _TABLES.get(str(path[0]), Document) if path else Document


def _keys(values: dict[str, Any], path: Path) -> list[str]:
    struct = _struct(values, path)
    keys = list(struct.__struct_fields__)
    return ["op", *keys] if struct in OPS.values() else keys


def _choices(values: dict[str, Any], path: Path) -> str:
    kind = msgspec.inspect.type_info(_struct(values, path[:-1]))
    assert isinstance(kind, msgspec.inspect.StructType)
    for field in kind.fields:
        if field.name == path[-1]:
            options = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
            for option in options:
                if isinstance(option, msgspec.inspect.LiteralType):
                    return ", ".join(repr(value) for value in option.values)
    return "the documented values"
