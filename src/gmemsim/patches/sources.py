"""The functions of a class, and their sources, parsed."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..actors.kernel import Kernel

_PACKAGE: Final = __name__.partition(".")[0]
_ROOT: Final = str(Path(__file__).parents[1])


def ours(cls: type) -> bool:
    """Whether the class is part of this package, and not a user's."""
    return of_package(cls.__module__)


def of_package(module: str) -> bool:
    return module.partition(".")[0] == _PACKAGE


def function_of(value: Any) -> FunctionType | None:
    """The function behind an attribute of a class: a method, static or class method, or a property's getter.

    What stands in for a function (`entered`, `fitting`) has the function as its `stands_for`.
    """
    value = getattr(value, "__func__", value)
    if isinstance(value, property):
        value = value.fget
    while hasattr(value, "stands_for"):
        value = value.stands_for
    return value if isinstance(value, FunctionType) else None


def defined_as(cls: type, name: str) -> str:
    """The class that an attribute of `cls` comes from, and its name: functions stand in modules of their own, too."""
    owner = next((each for each in cls.__mro__ if name in vars(each)), cls)
    return f"{owner.__qualname__}.{name}"


def own_functions(cls: type[Kernel]) -> Iterator[tuple[type, str, FunctionType]]:
    """Functions that a user's classes define, by class and name; nothing for a version of ours."""
    for owner in cls.__mro__:
        if owner is object or ours(owner):
            continue
        for name, value in vars(owner).items():
            function = function_of(value)
            if function is not None and not name.startswith("__"):
                yield owner, name, function


def _stamp(path: str) -> tuple[int, int]:
    """A user's file may be another one the next time; ours stay."""
    if path.startswith(_ROOT):
        return 0, 0
    try:
        stat = Path(path).stat()
    except (OSError, ValueError):
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


@cache
def _tree(path: str, _stamp: tuple[int, int]) -> ast.Module | None:
    try:
        return ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


@cache
def _nodes(path: str, stamp: tuple[int, int]) -> dict[tuple[str, int], ast.AST]:
    """Functions of a file, by name and the line of their `def` or first decorator."""
    tree = _tree(path, stamp)
    found: dict[tuple[str, int], ast.AST] = {}
    for node in [] if tree is None else ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name, first] = node
    return found


def node_of(function: FunctionType) -> ast.AST | None:
    """The source of a function, parsed; None if there is none."""
    code = function.__code__
    return _nodes(code.co_filename, _stamp(code.co_filename)).get((code.co_name, code.co_firstlineno))


def tree_of(path: str) -> ast.Module | None:
    """A file, parsed; None if it cannot be."""
    return _tree(path, _stamp(path))
