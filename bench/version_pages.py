"""How much a reader of a version has to hold: its classes, and functions that are defined more than once.

    python bench/version_pages.py [--src OLD/src] [--names]

For each version: own classes in the method resolution order; functions; functions defined more than once in it; methods
that only call `super()` or pass their arguments on; functions that begin with "not my file"; classes without a name in
the registry (they exist only to come first). Below: how often code of the kernel's functions asks for a constant of the
version (`self.in_place`), by constant. With `--names` the functions behind the counts are listed.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
import textwrap
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def body_of(function: Any) -> list[ast.stmt]:
    """Statements without the docstring."""
    node: Any = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    statements: list[ast.stmt] = node.body
    first = statements[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        statements = statements[1:]
    return statements


def called(statement: ast.stmt) -> ast.Call | None:
    """The call that a statement consists of."""
    if not isinstance(statement, (ast.Return, ast.Expr)):
        return None
    value = statement.value
    value = value.value if isinstance(value, ast.Await) else value
    return value if isinstance(value, ast.Call) else None


def passes_on(function: Any, name: str) -> bool:
    """Only `super().NAME(…)` with its own arguments, or another method of the object with exactly these."""
    body = body_of(function)
    call = called(body[0]) if len(body) == 1 else None
    if call is None or not isinstance(call.func, ast.Attribute) or call.keywords:
        return False
    taken = list(inspect.signature(function).parameters)[1:]
    if [ast.unparse(each) for each in call.args] != taken:
        return False
    receiver = ast.unparse(call.func.value)
    return receiver == "super()" and call.func.attr == name


def asks_first(function: Any) -> bool:
    """Begins with `if …: return await super()…`: whether it is concerned at all."""
    for statement in body_of(function)[:2]:
        if isinstance(statement, ast.If):
            last = called(statement.body[-1]) or (called(statement.body[0]))
            return last is not None and "super()" in ast.unparse(last.func)
    return False


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--src", type=Path, default=ROOT / "src", help="the src of a checkout")
    parser.add_argument("--names", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, str(args.src.resolve()))
    from gmemsim.patches.registry import versions
    from gmemsim.patches.sources import function_of

    known = set(versions().values())
    print("| version | classes | unnamed | functions | defined twice or more | pass on | ask first |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    asking: dict[str, set[str]] = defaultdict(set)
    for name, cls in versions().items():
        owners = [each for each in cls.__mro__ if each is not object]
        unnamed = [each for each in owners if each not in known and each.__name__ != "Kernel"]
        defined: Counter[str] = Counter()
        passing, first = [], []
        constants = {
            each
            for owner in owners
            for each, value in vars(owner).items()
            if isinstance(value, bool) and not each.startswith("__")
        }
        for owner in owners:
            for each, value in vars(owner).items():
                function = function_of(value)
                if function is None or each.startswith("__"):
                    continue
                defined[each] += 1
                place = f"{function.__module__.rpartition('.')[2]}.{each}"
                if passes_on(function, each):
                    passing.append(place)
                if asks_first(function):
                    first.append(place)
                for constant in constants & set(function.__code__.co_names):
                    asking[constant].add(place)
        again = [each for each, count in defined.items() if count > 1]
        counts = (len(owners), len(unnamed), len(defined), len(again), len(passing), len(first))
        print(f"| {name} | {' | '.join(map(str, counts))} |")
        if args.names:
            for title, names in (("pass on", passing), ("ask first", first), ("again", again)):
                print(f"  {title}: {', '.join(names)}")
    print()
    for constant, places in sorted(asking.items()):
        print(f"{constant}: {len(places)}" + (f" ({', '.join(sorted(places))})" if args.names else ""))


if __name__ == "__main__":
    main()
