"""Scenario tables as TOML text, so that a workload made by a program can be read, saved and run like any other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

#: The order in which a reader expects them.
_ORDER: Final = ("scenario", "parameters", "small", "vm", "file", "slot", "map", "setup", "task", "faults")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH: Final = 100
#: TOML has \uXXXX and these; other control characters have no short form.
_DELETE = "\x7f"


def toml_text(values: Mapping[str, Any]) -> str:
    """The text that `scenarios.scenario.loads` reads the same values from.

    Args:
        values: by table name; a list is an array of tables. Within a table: numbers, strings, truth values, lists
            and tables of these.
    """
    blocks: list[str] = []
    for key in (*_ORDER, *sorted(values.keys() - set(_ORDER))):
        if key not in values:
            continue
        value = values[key]
        if isinstance(value, list):
            blocks += ["\n".join((f"[[{_key(key)}]]", *_rows(table))) for table in value]
        else:
            blocks.append("\n".join((f"[{_key(key)}]", *_rows(value))))
    return "\n\n".join(blocks) + "\n"


def _rows(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        row = f"{_key(key)} = {_value(value)}"
        if len(row) > _WIDTH and isinstance(value, list):
            inner = "".join(f"    {_value(item)},\n" for item in value)
            row = f"{_key(key)} = [\n{inner}]"
        yield row


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but JSON leaves DEL alone.
    return json.dumps(text, ensure_ascii=False).replace(_DELETE, "\\u007F")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items())} }}"
    raise TypeError(f"a scenario holds no {type(value).__name__}")
