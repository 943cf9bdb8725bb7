"""Which functions of a version can run at all: its call graph, read from the sources of its classes.

A version is a chain of classes, and a function of an older one may have no caller left in a newer one. The graph starts
at what the rest of the package calls on a kernel (`kernel.NAME`), goes through `self.NAME` (the first definition in the
method resolution order) and `super().NAME` (the next one), and leaves out branches that a version's constant switches
off (`if self.in_place:` where `in_place` is False). It errs towards *can run*: a receiver that is not known counts.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any, Final

import attrs

from .sources import function_of, node_of, of_package, ours, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..actors.kernel import Kernel

_CALLED: Final = re.compile(r"kernel\.([A-Za-z_]\w*)")


@attrs.frozen
class Reached:
    """What can run in a class.

    Attributes:
        definitions: class and name of each function that can run.
        callers: by name, the names of the functions that mention it, whether they can run or not.
    """

    definitions: frozenset[tuple[type, str]]
    callers: dict[str, frozenset[str]]

    @property
    def names(self) -> frozenset[str]:
        """Names of the functions that can run."""
        return frozenset(name for _, name in self.definitions)


def used_names(name: str, classes: tuple[type[Kernel], ...]) -> frozenset[str]:
    """Every identifier in a function of these classes and in all that it may call, whoever defines it."""
    found: set[str] = set()
    todo: list[Any] = [name]
    seen: set[Any] = set()
    while todo:
        each = todo.pop()
        if each in seen:
            continue
        seen.add(each)
        if isinstance(each, str):
            owners = {owner for cls in classes for owner in cls.__mro__ if each in vars(owner)}
            todo += [function_of(vars(owner)[each]) for owner in owners]
            continue
        node = None if each is None else node_of(each)
        for inner in () if node is None else ast.walk(node):
            if isinstance(inner, ast.Attribute):
                found.add(inner.attr)
                todo.append(inner.attr)
            elif isinstance(inner, ast.Name):
                found.add(inner.id)
                called = each.__globals__.get(inner.id)
                if isinstance(called, FunctionType) and of_package(called.__module__):
                    todo.append(called)
    return frozenset(found)


def reached(cls: Any) -> Reached:
    """The functions of `cls`, a version or a user's patch, and of its parents that something can call."""
    return _reached(cls)


@cache
def _reached(cls: Any) -> Reached:
    return _Graph(cls).reached()


#: By function: what it looks up, with the constants that this depends on.
_walks: dict[ast.AST, list[tuple[dict[str, bool | None], list[ast.Attribute]]]] = {}


class _Graph:
    def __init__(self, cls: type[Kernel]) -> None:
        self.cls = cls
        self.mro = [each for each in cls.__mro__ if each is not object]
        self.stored = {name for each in self.mro for name in _stored(each)}
        self.asked: dict[str, bool | None] = {}

    def reached(self) -> Reached:
        todo: list[tuple[int, str]] = []
        roots = _entries() | {name for each in self.mro if not ours(each) for name in _outside(each)}
        for name in roots | {name for name in dir(self.cls) if name.startswith("__")}:
            self._push(todo, 0, name)
        seen: set[tuple[int, str]] = set()
        callers: dict[str, set[str]] = {}
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            position, name = at
            for start, used in self._uses(position, name):
                callers.setdefault(used, set()).add(name)
                self._push(todo, start, used)
        return Reached(
            frozenset((self.mro[position], name) for position, name in seen),
            {name: frozenset(found) for name, found in callers.items()},
        )

    def _push(self, todo: list[tuple[int, str]], start: int, name: str) -> None:
        for position in range(start, len(self.mro)):
            value = vars(self.mro[position]).get(name)
            if value is not None:
                if function_of(value) is not None:
                    todo.append((position, name))
                return

    def _uses(self, position: int, name: str) -> Iterator[tuple[int, str]]:
        """Names that a function mentions, each with the place in the resolution order where the look-up begins."""
        value = vars(self.mro[position])[name]
        function = function_of(value)
        assert function is not None
        if hasattr(value, "otherwise"):
            # Of other files the one of the version below (`by_file`).
            yield position + 1, name
        for each in _bodies(function):
            yield from self._used_in(each, position)

    def _used_in(self, function: FunctionType, position: int) -> Iterator[tuple[int, str]]:
        node = node_of(function)
        if node is None:
            # No source, as for a class that was typed in: every name counts.
            for used in function.__code__.co_names:
                yield 0, used
                yield position + 1, used
            return
        if not of_package(function.__module__):
            for used in _strings(node):
                yield 0, used
        for attribute in self._looked_up(node):
            receiver = attribute.value
            match receiver:
                case ast.Call(func=ast.Name(id="super")):
                    yield position + 1, attribute.attr
                case ast.Name(id=called) if isinstance(function.__globals__.get(called), type):
                    parent = function.__globals__[called]
                    if parent in self.mro:
                        yield self.mro.index(parent), attribute.attr
                case ast.Name(id="arch") | ast.Attribute(attr="arch"):
                    pass
                case _:
                    yield 0, attribute.attr

    def _looked_up(self, node: ast.AST) -> list[ast.Attribute]:
        """Attributes that the function can look up; versions with the same constants share the walk."""
        for constants, found in _walks.get(node, ()):
            if all(self._flag(name) is value for name, value in constants.items()):
                return found
        self.asked = {}
        found = list(_attributes(node, self._constant))
        _walks.setdefault(node, []).append((self.asked, found))
        return found

    def _flag(self, name: str) -> bool | None:
        """The value of a constant of the class; None if it is no bool, or differs from kernel to kernel."""
        found = None if name in self.stored else getattr(self.cls, name, None)
        return found if isinstance(found, bool) else None

    def _constant(self, node: ast.expr) -> bool | None:
        """The value of a test that only asks for constants of the version; None if it is open."""
        match node:
            case ast.Constant(value=bool() as value):
                return value
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                self.asked[name] = found = self._flag(name)
                return found
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._constant(operand)
                return None if inner is None else not inner
            case ast.BoolOp(op=op, values=operands):
                values = [self._constant(each) for each in operands]
                deciding = isinstance(op, ast.Or)
                if deciding in values:
                    return deciding
                return None if None in values else not deciding
        return None


def _attributes(node: ast.AST, constant: Any) -> Iterator[ast.Attribute]:
    """Attributes that code can look up, without branches that a constant switches off."""
    if isinstance(node, ast.Attribute):
        yield node
    if isinstance(node, ast.BoolOp):
        deciding = isinstance(node.op, ast.Or)
        for operand in node.values:
            yield from _attributes(operand, constant)
            if constant(operand) is deciding:
                return
        return
    value = constant(node.test) if isinstance(node, (ast.If, ast.IfExp)) else None
    for field, child in ast.iter_fields(node):
        if (value is False and field == "body") or (value is True and field == "orelse"):
            continue
        if isinstance(child, list):
            for each in child:
                if isinstance(each, ast.AST):
                    yield from _attributes(each, constant)
                    if _ends(each, constant):
                        break
        elif isinstance(child, ast.AST):
            yield from _attributes(child, constant)


def _ends(node: ast.AST, constant: Any) -> bool:
    """Nothing behind this statement runs."""
    if isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
        return True
    if isinstance(node, ast.If):
        value = constant(node.test)
        branches = [node.body] if value is True else [node.orelse] if value is False else []
        return any(_ends(each, constant) for branch in branches for each in branch)
    return False


@cache
def _entries() -> frozenset[str]:
    """What is called on a kernel from outside its classes, anywhere in the package."""
    root = Path(__file__).parents[1]
    texts = (path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    return frozenset(name for text in texts for name in _CALLED.findall(text))


def _bodies(function: FunctionType) -> Iterator[FunctionType]:
    """A function and, in a user's file, those that its decorators keep."""
    todo, seen = [function], set[FunctionType]()
    while todo:
        each = todo.pop()
        if each in seen:
            continue
        seen.add(each)
        yield each
        if not of_package(each.__module__):
            kept = [getattr(each, "__wrapped__", None), *map(_content, each.__closure__ or ())]
            todo += [inner for inner in kept if isinstance(inner, FunctionType)]


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _strings(node: ast.AST) -> Iterator[str]:
    """What may be a name that is looked up with `getattr`."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.isidentifier():
            yield each.value


@cache
def set_on_kernels(cls: Any) -> frozenset[str]:
    """Attributes that the constructor of a version, or of one of its parents, sets on each kernel."""
    found: set[str] = set()
    for owner in cls.__mro__:
        node = node_of(init) if (init := function_of(vars(owner).get("__init__"))) is not None else None
        found |= {
            inner.attr
            for inner in (() if node is None else ast.walk(node))
            if isinstance(inner, ast.Attribute)
            and isinstance(inner.ctx, ast.Store)
            and isinstance(inner.value, ast.Name)
            and inner.value.id == "self"
        }
    return frozenset(found)


@cache
def _stored(cls: Any) -> frozenset[str]:
    """Attributes that methods of the class assign."""
    nodes = [
        node_of(function) for value in vars(cls).values() if (function := function_of(value)) is not None
    ]
    return frozenset(
        inner.attr
        for node in nodes
        if node is not None
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
    )


def _called(node: ast.expr) -> str:
    """The last name of a decorator."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _on_kernels(operation: ast.ClassDef) -> Iterator[str]:
    """What an operation of a user's own (`scenarios.own`) calls on the kernel: `thread.kernel.NAME`."""
    for node in ast.walk(operation):
        if isinstance(node, ast.Attribute) and _called(node.value) == "kernel":
            yield node.attr


def _outside(cls: type) -> Iterator[str]:
    """What a user's module looks up outside its classes' own methods: helpers may be called from there."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    tree = None if path is None else tree_of(path)
    todo: list[ast.AST] = [] if tree is None else list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ClassDef):
            # Its decorators and assignments, not its methods. What these name is a function of the class itself
            # (`alias = helper`), or looked up in a table.
            methods = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            plain = [each for each in node.body if not isinstance(each, methods)]
            for each in plain:
                yield from _strings(each)
                yield from (
                    name.id
                    for name in ast.walk(each)
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)
                )
            todo += [
                *node.decorator_list,
                *plain,
                *(each for each in node.body if isinstance(each, ast.ClassDef)),
            ]
            if any(_called(each) == "operation" for each in node.decorator_list):
                yield from _on_kernels(node)
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        todo += ast.iter_child_nodes(node)
