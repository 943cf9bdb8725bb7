"""Defaults of options from `gmemsim.toml`, or from `[tool.gmemsim]` in `pyproject.toml`.

The nearest file counts, from this folder upwards; `GMEMSIM_CONFIG` names another, or none if it is empty. What runs
code (a patch in a file) or writes files is not taken from there: that is named where it is typed, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from ..nearest import hint
from .errors import InputError

_OWN: Final = "gmemsim.toml"
_SHARED: Final = "pyproject.toml"


def defaults(ctx: click.Context) -> dict[str, Any] | None:
    """For click's `default_map`: values by command and parameter. None: there are none.

    Args:
        ctx: of the group; the command that is invoked is looked at, the others only to check names.

    Raises:
        InputError: the file cannot be read, or has something that no option takes.
    """
    found = _read()
    name = ctx.invoked_subcommand
    if found is None or name is None:
        return None
    path, table = found
    group = ctx.command
    assert isinstance(group, click.Group)
    command = group.get_command(ctx, name)
    assert command is not None
    for key, value in table.items():
        _check_place(key, value, group, ctx, path)
    general = {key: value for key, value in table.items() if not isinstance(value, dict)}
    own = table.get(name, {})
    used: list[str] = []
    values = _of(command, general, own, path, used)
    if used:
        click.echo(f"gmemsim: defaults from {path}: {', '.join(dict.fromkeys(used))}", err=True)
    return {name: values}


def _read() -> tuple[Path, dict[str, Any]] | None:
    import tomllib

    for path in _places():
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}") from None
        if path.name == _SHARED and "gmemsim" not in text:
            continue
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: {error}") from None
        if path.name == _SHARED:
            table = table.get("tool", {}).get("gmemsim")
            if table is None:
                continue
        return path, table
    return None


def _places() -> Iterator[Path]:
    named = os.environ.get("GMEMSIM_CONFIG")
    if named is not None:
        if named and not Path(named).exists():
            raise InputError(f"GMEMSIM_CONFIG={named}: no such file")
        if named:
            yield Path(named)
        return
    try:
        here = Path.cwd()
    except OSError:
        return
    for folder in (here, *here.parents):
        yield from (folder / _OWN, folder / _SHARED)


def _options(command: click.Command) -> dict[str, click.Option]:
    """By their long names without dashes."""
    return {
        name.removeprefix("--"): param
        for param in command.params
        if isinstance(param, click.Option)
        for name in param.opts
        if name.startswith("--")
    }


def _below(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _below(inner)


def _check_place(key: str, value: Any, group: click.Group, ctx: click.Context, path: Path) -> None:
    """A key of the top is an option of some command, a table is called like a command."""
    names = group.list_commands(ctx)
    if isinstance(value, dict):
        if key not in names:
            raise InputError(f"{path}: no command {key!r}; {hint(key, names)}")
        return
    assert ctx.invoked_subcommand is not None
    known: set[str] = set()
    for name in dict.fromkeys((ctx.invoked_subcommand, *names)):
        command = group.get_command(ctx, name)
        assert command is not None
        known |= {option for each in _below(command) for option in _options(each)}
        if key in known:
            return
    raise InputError(f"{path}: no command has the option {key!r}; {hint(key, sorted(known))}")


def _of(
    command: click.Command, general: Mapping[str, Any], own: Mapping[str, Any], path: Path, used: list[str]
) -> dict[str, Any]:
    """Values by parameter; what `own` has goes before what `general` has."""
    if isinstance(command, click.Group):
        unknown = [
            key for key, value in own.items() if key not in command.commands or not isinstance(value, dict)
        ]
        if unknown:
            raise InputError(f"{path}: {command.name} {unknown[0]}: {hint(unknown[0], command.commands)}")
        return {
            name: _of(inner, general, own.get(name, {}), path, used)
            for name, inner in command.commands.items()
        }
    options = _options(command)
    values: dict[str, Any] = {}
    for key, value in (*general.items(), *own.items()):
        if key not in options:
            if key in own:
                raise InputError(f"{path}: {command.name} has no option {key!r}; {hint(key, options)}")
            continue
        option = options[key]
        assert option.name is not None
        values[option.name] = _value(option, key, value, path)
        used.append(key)
    return values


def _value(option: click.Option, key: str, value: Any, path: Path) -> Any:
    each = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not option.multiple:
        raise InputError(f"{path}: {key}: expected one value, got a list")
    for one in each:
        if isinstance(option.type, click.Path) or (isinstance(one, str) and re.search(r"\.py(:|$)", one)):
            raise InputError(f"{path}: {key}: a file to write or to run is named on the command line only")
        if isinstance(one, bool) != option.is_flag or not isinstance(one, str | int | float):
            wanted = "true or false" if option.is_flag else "a text or a number"
            raise InputError(f"{path}: {key}: expected {wanted}, got {one!r:.60}")
        try:
            option.type.convert(str(one) if not isinstance(one, bool) else one, option, None)
        except click.BadParameter as error:
            raise InputError(f"{path}: {key}: {error.message}") from None
    return each if option.multiple else value
