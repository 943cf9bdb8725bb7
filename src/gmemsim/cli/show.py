"""`gmemsim show`: the functions in which a version differs from another, with file and line."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING, Any

import click

from .errors import Command, InputError
from .output import print_json, say
from .params import json_option

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from ..patches.difference import Definition, Difference


@click.command("show", cls=Command)
@click.argument("version")
@click.option(
    "--against", metavar="VERSION", help="The other version; the one that it derives from if left out."
)
@click.option("--all", "everything", is_flag=True, help="Every function that the version can run, by file.")
@click.option("--source", is_flag=True, help="With the text of each function, as a difference.")
@json_option
def command(version: str, against: str | None, everything: bool, source: bool, as_json: bool) -> None:
    """Show what VERSION changes: each function that it runs differently, with file, line and kernel function.

    VERSION is a version (`gmemsim list patches`), one with a change (`v3+NAME`), or a patch of your own
    (`mine.py:MyPatch`). Functions that a version inherits and never calls are no part of it.
    """
    from ..patches.difference import constants, differences, functions, never_called, predecessor
    from ..patches.registry import load_patch, versions

    if everything and (against or source):
        raise InputError("--all shows one version: it goes with neither --against nor --source")
    cls = load_patch(version)
    other = load_patch(against) if against else predecessor(cls, versions())
    if everything or other is None:
        rows, values = functions(cls), {}
        head = f"{version}: {len(rows)} functions"
    else:
        rows, values = differences(cls, other), constants(cls, other)
        head = _head(version, against or _name(other), rows, len(values))
    if as_json:
        document: dict[str, Any] = {"version": version, "functions": [_document(row) for row in rows]}
        if not everything and other is not None:
            document |= {
                "never_called": [one.qualname for one in never_called(cls)],
                "against": against or _name(other),
                "values": {name: [str(one) for one in pair] for name, pair in values.items()},
            }
        print_json(document)
        return
    say(head)
    if everything or other is None:
        _by_file(rows)
        return
    for row in rows:
        _print(row, source)
    if values:
        click.echo("\nvalues")
    for name, (before, after) in values.items():
        say(f"  {name}: {before!r} -> {after!r}")
    for one in never_called(cls):
        say(f"never called: {_place(one)}")


def _name(cls: type[Kernel]) -> str:
    return str(cls.name)


def _head(version: str, against: str, rows: list[Difference], values: int) -> str:
    counts = [
        f"{count} {kind}"
        for kind in ("changed", "added", "gone")
        if (count := sum(row.kind == kind for row in rows))
    ]
    if values:
        counts.append(f"{values} {'value' if values == 1 else 'values'}")
    return f"{version} against {against}: {', '.join(counts) or 'every function and value is the same'}"


def _print(row: Difference, source: bool) -> None:
    part = ", ".join(row.kernel[:3]) + (", ..." if len(row.kernel) > 3 else "")
    say("")
    say(f"{row.kind} {row.name}" + (f"  (part of {part})" if part and row.name not in row.kernel else ""))
    says = (row.after or row.before)[0].says
    if says:
        say(f"  {says}")
    for sign, found in (("-", row.before), ("+", row.after)):
        if found:
            say(f"  {sign} {', then '.join(_place(one) for one in found)}")
    if source:
        for line in unified_diff(_text(row.before), _text(row.after), lineterm="", n=1000):
            if not line.startswith(("---", "+++", "@@")):
                click.echo(f"    {line}")


def _place(one: Definition) -> str:
    from ..patches.difference import shown_path

    return f"{one.qualname} {shown_path(one.file)}:{one.line}"


def _text(found: tuple[Definition, ...]) -> list[str]:
    return [line for one in found for line in one.source.splitlines()]


def _by_file(rows: list[Difference]) -> None:
    from ..patches.difference import shown_path

    files: dict[str, list[Definition]] = {}
    for row in rows:
        for one in row.after:
            files.setdefault(shown_path(one.file), []).append(one)
    for name, found in sorted(files.items()):
        click.echo(f"\n{name}")
        for one in sorted(found, key=lambda one: one.line):
            say(f"  {one.line:4} {one.qualname}" + (f": {one.says}" if one.says else ""))


def _document(row: Difference) -> dict[str, Any]:
    from ..patches.difference import shown_path

    def places(found: tuple[Definition, ...]) -> list[dict[str, Any]]:
        return [
            {"function": one.qualname, "file": shown_path(one.file), "line": one.line, "says": one.says}
            for one in found
        ]

    return {
        "name": row.name, "kind": row.kind, "kernel": row.kernel, "before": places(row.before),
        "after": places(row.after),
    }  # fmt: skip
