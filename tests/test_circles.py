"""Modules that import each other, if only for types, are one concept, and each such circle is named here with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import gmemsim

PACKAGE: Final = Path(gmemsim.__file__).parent

#: What a circle may consist of, and the concept that it is. A new one belongs here only if a reader of one file wants
#: the others open; else take the type that both need into a module of its own.
CONCEPTS: Final = {
    r"actors\.\w+": "the kernel: its structs point at each other, and its functions take them",
    r"contention\.(machine|point|storms|trace)": "a storm: the machine, and what is done to it",
    r"engine\.(answers|cpus|engine|errors|strategy|tape|task)": "the engine: its tasks, and who chooses among them",
    r"engine\.locks\.rwsem_(core|spin)": "one lock in two files",
    r"explore\.(failure|runs|scene)": "a run: its failure, and the scene that it left",
    r"explore\.lock_graph\.(cycles|graph)": "the graph of locks and its cycles",
    r"follow\.(attempt|comparison|hints|other_threads|outcomes\w*)": (
        "an attempt to follow a trace: the outcome that a step must have, and what others do for it"
    ),
    r"lab\.(fronts|machine)": "a machine and how it is started",
    r"oracles\.\w+": "the judge and its subjects",
    r"patches\.(gmem|huge|inplace|lru|mainline|rmp)\w*": "a version: its page, and the functions that it names",
    r"patches\.(fitting|overrides|registry)": "what a class of a user's has to be, to be loaded",
    r"scenarios\.(session|setup|summary|thread)": "a session: its setup, its threads, its summary",
}


def imports(tree: ast.Module, name: str, package: bool, modules: set[str], types: bool) -> Iterator[str]:
    """Modules of ours that a module imports: when it is imported itself, or (`types`) anywhere in it."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not types and (later or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))):
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            base = name.split(".")
            base = base[: len(base) - node.level + package]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                full = ".".join([*base, alias.name])
                found = full if full in modules else ".".join(base)
                if found in modules and found != name:
                    yield found


def graph(types: bool) -> dict[str, set[str]]:
    files = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE
    }
    return {
        name: set(
            imports(
                ast.parse(path.read_text(encoding="utf-8")),
                name,
                path.name == "__init__.py",
                set(files),
                types,
            )
        )
        for name, path in files.items()
    }


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which is reached from each other."""
    reached = {}
    for name in arrows:
        seen: set[str] = set()
        todo = [name]
        while todo:
            for other in arrows[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        reached[name] = seen
    found = [{other for other in reached[name] if name in reached[other]} for name in arrows]
    return [set(one) for one in {frozenset(one) for one in found if len(one) > 1}]


def test_no_module_waits_for_itself() -> None:
    assert circles(graph(types=False)) == []


def test_every_circle_is_one_concept() -> None:
    for circle in circles(graph(types=True)):
        known = any(all(re.fullmatch(pattern, name) for name in circle) for pattern in CONCEPTS)
        assert known, f"import each other: {', '.join(sorted(circle))}"
