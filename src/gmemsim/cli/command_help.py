"""What every command gets when it is loaded: its examples below `--help`, and names that a shell can complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from re import findall
from textwrap import wrap
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from ..nearest import hint
from .examples import EXAMPLES, sentence

#: Columns that `--help` takes at most.
WIDEST: Final = 100


def _keys(module: str, attribute: str) -> Callable[[], Iterable[str]]:
    """The keys of a table, or what a function gives, in a module that is imported when it is asked for."""

    def names() -> Iterable[str]:
        found: Any = getattr(import_module(f"gmemsim.{module}"), attribute)
        names: Iterable[str] = found() if callable(found) else found
        return names

    return names


def _scenarios() -> Iterable[str]:
    from ..scenarios.catalogue import litmus_names, names, zoo_names

    return [*names(), *zoo_names(), *litmus_names()]


def _tests() -> Iterable[str]:
    from ..scenarios.catalogue import litmus_names, names

    return [*litmus_names(), *names()]


_VERSIONS: Final = _keys("patches.registry", "versions")
_RULES: Final = _keys("oracles.every_rule", "EVERY_RULE")
_OPERATIONS: Final = _keys("studies.operations", "names")
_FINDINGS: Final = _keys("explore.findings.table", "FINDINGS")
_ARCHES: Final = _keys("arch.registry", "ARCHES")

#: Names by the parameter that takes them. A command may have another meaning for one: then `command.parameter`.
_NAMES: Final[dict[str, Callable[[], Iterable[str]]]] = {
    "scenario": _scenarios,
    "scenarios": _scenarios,
    "litmus.entries": _tests,
    "library.entries": _keys("scenarios.catalogue", "names"),
    "patch": _VERSIONS,
    "patches": _VERSIONS,
    "against": _VERSIONS,
    "show.version": _VERSIONS,
    "diff.left": _VERSIONS,
    "diff.right": _VERSIONS,
    "rule": _RULES,
    "without": _RULES,
    "findings.ident": _FINDINGS,
    "finding": _FINDINGS,
    "arch": _ARCHES,
    "arches": _ARCHES,
    "vm_types": _ARCHES,
    "release": _keys("actors.release", "RELEASES"),
    "strategy": _keys("explore.strategies", "STRATEGIES"),
    "strategies": _keys("explore.strategies", "STRATEGIES"),
    "policy": _keys("engine.locks.policies", "LOCK_POLICIES"),
    "locks": _keys("engine.locks.policies", "LOCK_POLICIES"),
    "zoo.entries": _keys("patches.zoo.registry", "BUGS"),
    "hazards.entries": _keys("patches.hazards.registry", "HAZARDS"),
    "mends.entries": _FINDINGS,
    "pairs.entries": _OPERATIONS,
    "triples.entries": _OPERATIONS,
    "quadruples.entries": _OPERATIONS,
    "man.name": _keys("cli.commands", "available"),
}


class _Name(click.types.StringParamType):
    """Any text; a shell completes the names that there are, one after another where commas are allowed."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        if last.endswith(".py") or "/" in last:
            return [CompletionItem(incomplete, type="file")]
        names = [CompletionItem(before + comma + name) for name in self._names() if name.startswith(last)]
        # A patch or a scenario may be a file.
        return names or [CompletionItem(incomplete, type="file")]


class _OneOf(click.Choice[Any]):
    """A choice that says which one may have been meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            what = "" if param is None else param.opts[0]
            raise click.UsageError(
                f"{what} {value}: {hint(str(value), map(str, self.choices))}", ctx
            ) from None


def _folded(call: str, says: str, width: int) -> Iterator[str]:
    """An example in lines of at most so many columns; what is typed goes on after a backslash, as in a shell."""
    yield from wrap(says, width, initial_indent="  ", subsequent_indent="  ")
    # Not within quotes, where a backslash is one.
    words = findall(r"(?:'[^']*'|\S)+", f"gmemsim {call}")
    line = "    " + words[0]
    for word in words[1:]:
        if len(line) + len(word) + 3 > width:
            yield f"{line} \\"
            line = "     "
        line += f" {word}"
    yield line


def prepare(command: click.Command, path: str) -> None:
    """Add the examples and the completion of names to a command and those below it; again changes nothing.

    Args:
        path: what is typed after `gmemsim `.
    """
    examples = EXAMPLES.get(path, ())
    if examples and command.epilog is None:
        # Two for what click indents it by.
        width = min(shutil.get_terminal_size().columns, WIDEST) - 2
        lines = [line for call, says in examples for line in _folded(call, sentence(says), width)]
        command.epilog = "\n".join(["\b", "Examples:", *lines])
    for param in command.params:
        name = param.name or ""
        names = _NAMES.get(f"{path.rpartition(' ')[2]}.{name}") or _NAMES.get(name)
        if names is not None and param.type is click.STRING:
            param.type = _Name(names)
        elif type(param.type) is click.Choice:
            param.type = _OneOf(param.type.choices, param.type.case_sensitive)
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            prepare(inner, f"{path} {name}")
