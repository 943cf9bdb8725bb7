"""Where a module of the package can be changed, what it is then, and which of its functions that changes."""

from __future__ import annotations

import ast
import gc
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from types import CodeType, FunctionType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "gmemsim"
#: Calls that only tell somebody what the code does: events, accesses for the reduction, statistics.
TELLING = ("rec", "point", "touch", "saw", "changed", "touch_task", "held", "waited", "emit", "might_sleep")
#: A check whether somebody listens, and what it is when nobody does (`t.traps` too).
LISTENS = {"rec is not None": "False", "rec is None": "True"}
#: Mutants by folder: most where verdicts come from.
WEIGHTS = {
    "oracles": 60, "explore": 60, "engine": 36, "actors": 36, "patches": 30, "scenarios": 30, "arch": 24,
    "follow": 20, "compare": 20, "cli": 16, "contention": 12,
}  # fmt: skip
SWAPS = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
#: Functions by where they were written: file, qualified name, line.
Bound = dict[tuple[str, str, int], list[FunctionType]]
#: co_flags of a function, which a class body has not.
OPTIMIZED = 1


class Place(NamedTuple):
    """One change of one module."""

    module: str
    line: int
    column: int
    last: int
    end: int
    new: str
    kind: str
    #: What stood there, in one line, and the function around it.
    old: str
    function: str
    #: Which one of those that read the same in this function.
    nth: int = 1

    @property
    def key(self) -> str:
        """The same while the function's text there is the same, wherever it moves in its file."""
        words = (self.module, self.function, self.kind, self.old, " ".join(self.new.split()))
        return " | ".join(words) + (f" | {self.nth}" if self.nth > 1 else "")


@cache
def text_of(module: str) -> str:
    """Of a module (a path below the package), as it was when it was first asked for."""
    return (PACKAGE / module).read_text()


def places(module: str) -> list[Place]:
    """Every change that functions of one module have room for."""
    text = text_of(module)
    found: list[Place] = []
    same: Counter[str] = Counter()
    tree = ast.parse(text)
    hints = {
        id(node) for each in ast.walk(tree) if isinstance(each, ast.arg | ast.AnnAssign)
        for node in ast.walk(each.annotation or each)
    }  # fmt: skip

    def source(node: ast.AST) -> str:
        return ast.get_source_segment(text, node) or ""

    def visit(node: ast.AST, names: tuple[str, ...], within: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, (*names, child.name), within)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                for statement in child.body:
                    change(statement, (*names, child.name))
                    visit(statement, (*names, child.name), True)
            else:
                if within:
                    change(child, names)
                visit(child, names, within)

    def change(node: ast.AST, names: tuple[str, ...]) -> None:
        if id(node) in hints:
            return
        for new, kind in changes(node, source):
            assert isinstance(node, ast.expr | ast.stmt)
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            old = " ".join(source(node).split())
            ends = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
            place = Place(module, *ends, new, kind, old, ".".join(names))
            same[place.key] += 1
            found.append(place._replace(nth=same[place.key]))

    visit(tree, (), False)
    return found


def changes(node: ast.AST, source: Callable[[ast.AST], str]) -> list[tuple[str, str]]:
    """New text and kind for one node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        if nobody := LISTENS.get(source(node).rpartition(".")[2]):
            return [(nobody, "listener")]
        return [
            (f"({source(node.left)} {SWAPS[type(node.ops[0])]} {source(node.comparators[0])})", "comparison")
        ]
    if isinstance(node, ast.Attribute) and node.attr == "traps" and isinstance(node.ctx, ast.Load):
        return [("False", "listener")]
    if isinstance(node, ast.BoolOp):
        word = " and " if isinstance(node.op, ast.Or) else " or "
        return [(f"({word.join(f'({source(each)})' for each in node.values)})", "and/or")]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [(f"({source(node.operand)})", "not")]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        if isinstance(node.left, ast.JoinedStr | ast.List | ast.Tuple):
            return []
        return [
            (
                f"({source(node.left)} {'-' if isinstance(node.op, ast.Add) else '+'} {source(node.right)})",
                "+/-",
            )
        ]
    if isinstance(node, ast.Constant) and node.value.__class__ is int and node.value in {0, 1, 2}:
        return [(str(node.value + 1), "number")]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [(str(not node.value), "constant")]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await):
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            # The name keeps the function's cell, without which its code could not be exchanged.
            new = "__class__" if "super()" in source(node) else "pass"
            return [(new, "telling gone" if name in TELLING else "call gone")]
    if isinstance(node, ast.Return) and node.value is not None and source(node.value) != "None":
        return [("return __class__ and None" if "super()" in source(node) else "return None", "return None")]
    if isinstance(node, ast.AugAssign):
        return [("pass", "assignment gone")]
    return []


def changed(text: str, place: Place) -> str:
    """The module with one place changed; all other lines keep their numbers."""
    lines = text.encode().split(b"\n")
    new = place.new.encode()
    blank = b"\n" * (place.last - place.line - new.count(b"\n"))
    whole = lines[place.line - 1][: place.column] + new + lines[place.last - 1][place.end :] + blank
    lines[place.line - 1 : place.last] = [whole]
    return b"\n".join(lines).decode()


def draw(count: int, seed: int, only: tuple[str, ...] = ("",)) -> list[Place]:
    """Places at random, folder by folder as WEIGHTS says; a quarter of them lines that only tell.

    `only`: of the modules whose path begins so; the same ones as without.
    """
    drawn: list[Place] = []
    whole = sum(WEIGHTS.values())
    for folder, weight in WEIGHTS.items():
        if not f"{folder}/".startswith(only) and not any(each.startswith(folder) for each in only):
            continue
        random = Random(f"{seed} {folder}")
        pool: list[Place] = []
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            pool += places(str(path.relative_to(PACKAGE)))
        telling = [place for place in pool if place.kind in {"telling gone", "listener"}]
        chosen: dict[str, Place] = {}
        wanted = -(-count * weight // whole)
        while len(chosen) < min(wanted, len(pool)):
            place = random.choice(telling if telling and random.random() < 0.25 else pool)
            chosen.setdefault(place.key, place)
        drawn += [place for place in chosen.values() if place.module.startswith(only)]
    return drawn


def functions(code: CodeType) -> list[CodeType]:
    """The functions of a module, also those of its classes, in order; not those within functions."""
    found: list[CodeType] = []
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found += [each] if each.co_flags & OPTIMIZED else functions(each)
    return found


def loaded() -> Bound:
    """The package's functions that exist now, by where they come from. What they remember is forgotten."""
    found: Bound = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(PACKAGE)):
            found.setdefault(origin(each.__code__), []).append(each)
        elif type(each).__name__ == "_lru_cache_wrapper" and str(each.__module__).startswith("gmemsim"):
            each.cache_clear()
    return found


def origin(code: CodeType) -> tuple[str, str, int]:
    """Where a function was written."""
    return code.co_filename, code.co_qualname, code.co_firstlineno


def swap(place: Place, bound: Bound) -> str:
    """Change the function in this process, wherever it is bound; why that was not possible, or ''."""
    path = PACKAGE / place.module
    text = text_of(place.module)
    olds = functions(compile(text, str(path), "exec", dont_inherit=True))
    news = functions(compile(changed(text, place), str(path), "exec", dont_inherit=True))
    pairs = [(old, new) for old, new in zip(olds, news, strict=True) if old != new]
    if len(pairs) != 1:
        return f"{len(pairs)} functions changed"
    [(old, new)] = pairs
    for each in bound.get(origin(old), ()):
        try:
            each.__code__ = new
        except ValueError as error:
            return str(error)
    return "" if origin(old) in bound else "not loaded"
