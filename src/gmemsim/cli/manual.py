"""The commands as a manual: read from click, written as a man page or as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click

from .. import __version__
from .examples import EXAMPLES, sentence

_EXIT = (
    ("0", "fine"),
    ("1", "a violation, a difference, a rejected trace: what was looked for was found"),
    ("2", "bad usage or input, or neither yes nor no"),
    ("130", "interrupted; what there was until then is shown"),
)


class Entry:
    """One command.

    Attributes:
        path: what is typed, `gmemsim explore`.
        pieces: what follows it, `[OPTIONS] SCENARIO`.
        text: paragraphs of its help, each one line; the first begins with what it does.
        options: names with their values, and what they say.
        examples: a command line, and what it is good for.
    """

    def __init__(self, path: str, command: click.Command, ctx: click.Context) -> None:
        self.path = path
        self.pieces = " ".join(command.collect_usage_pieces(ctx))
        self.text = [
            " ".join(paragraph.split())
            for paragraph in inspect.cleandoc(command.help or "").replace("\b", "").split("\n\n")
            if paragraph.strip()
        ]
        options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
        records = (param.get_help_record(ctx) for param in options)
        self.options = [record for record in records if record is not None]
        self.examples = [(f"gmemsim {line}", says) for line, says in EXAMPLES.get(path.partition(" ")[2], ())]


def entries(group: click.Group, only: str | None = None) -> Iterator[Entry]:
    """Every command below `group` in the order of `--help`, those of a group after it.

    Args:
        only: the name of one.
    """
    ctx = click.Context(group, info_name="gmemsim", terminal_width=100)
    for name in group.list_commands(ctx):
        if only in (None, name):
            command = group.get_command(ctx, name)
            assert command is not None
            yield from _below(command, f"gmemsim {name}", ctx)


def _below(command: click.Command, path: str, parent: click.Context) -> Iterator[Entry]:
    ctx = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, terminal_width=100)
    yield Entry(path, command, ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from _below(inner, f"{path} {name}", ctx)


def roff(title: str, about: str, found: list[Entry]) -> str:
    """A man page, of section 1, in the macros of man(7)."""
    lines = [
        f'.TH {_roff(title.upper())} 1 "" "gmemsim {__version__}" "User Commands"',
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(about)}",
        ".SH SYNOPSIS",
    ]
    lines += [f".B {_roff(one.path)}\n{_roff(one.pieces)}\n.br" for one in found]
    lines.append(".SH DESCRIPTION")
    for one in found:
        lines.append(f'.SS "{_roff(one.path)}"')
        for number, paragraph in enumerate(one.text):
            lines += [".PP"] * bool(number) + [_roff(paragraph)]
        for names, says in one.options:
            lines += [".TP", f"\\fB{_roff(names)}\\fR", _roff(says) or "\\&"]
        for line, says in one.examples:
            lines += [".PP", _roff(f"Example: {sentence(says)}"), ".RS 4", ".nf", _roff(line), ".fi", ".RE"]
    lines.append('.SH "EXIT STATUS"')
    for code, says in _EXIT:
        lines += [".TP", f"\\fB{code}\\fR", _roff(says)]
    lines += [
        ".SH FILES",
        ".TP",
        "\\fBgmemsim.toml\\fR, \\fBpyproject.toml\\fR",
        "Defaults of options: the nearest one of this folder and those above it. A key is an option without its "
        "dashes, for every command that has it; in a table with the name of a command, for that one. In pyproject.toml "
        "all of it is below [tool.gmemsim].",
    ]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Text that troff takes for text."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return "\\&" + text if text.startswith(".") else text


def markdown(found: list[Entry]) -> str:
    """A page of a site: a heading a command."""
    lines: list[str] = []
    for one in found:
        depth = "#" * one.path.count(" ")
        lines += [f"{depth}# {one.path}", "", f"    {one.path} {one.pieces}", ""]
        for paragraph in one.text:
            lines += [_plain(paragraph), ""]
        if one.options:
            lines += ["| option | |", "|---|---|"]
            lines += [
                f"| `{names.replace('|', chr(92) + '|')}` | {_cell(says)} |" for names, says in one.options
            ]
            lines.append("")
        for line, says in one.examples:
            lines += [sentence(f"{says[0].upper()}{says[1:]}"), "", f"    {line}", ""]
    lines += [
        "## Exit codes",
        "",
        "| code | |",
        "|--:|---|",
        *(f"| {code} | {says} |" for code, says in _EXIT),
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return re.sub(r"([<>*_\[\]|])(?![^`]*`(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", text)


def _cell(text: Any) -> str:
    return _plain(" ".join(str(text).split()))
