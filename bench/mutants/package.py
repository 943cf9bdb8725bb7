"""Mutants of the package itself: one place of one module changed, and whether the tests of that module notice.

`python bench/mutants/package.py --count 320 --seed 1 --out build/mutants.jsonl` draws places at random over all modules
and runs the test files that import the module (directly, else through its folder's name). A line a mutant; `--page`
writes docs/mutants_package.md from such files. What ran is in the line, so a survivor can be looked at.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TextIO

import attrs
import click
import hypothesis
import hypothesis.stateful
import msgspec
import pytest
import rich.console
import rich.table
import xdist.plugin
import zstandard
from _pytest.assertion.rewrite import AssertionRewritingHook

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType

_QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
#: Imported once, and not again in each process.
_EVERYWHERE = (
    attrs,
    click,
    hypothesis,
    hypothesis.stateful,
    msgspec,
    rich.console,
    rich.table,
    xdist.plugin,
    zstandard,
)
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
#: Seconds for the tests of one mutant: a hang is a kill, as nobody would miss it.
LIMIT = 100
#: Test files for one mutant at most: the ones that import the fewest modules first.
FILES = 2
#: Calls that only tell somebody what the code does: events, accesses for the reduction, statistics.
TELLING = ("rec", "point", "touch", "saw", "changed", "touch_task", "held", "waited")
SWAPS = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
Place = tuple[int, int, int, int, str, str]


def places(text: str) -> list[Place]:
    """Line, column, end line, end column, new text and kind of every change that one module has room for."""
    found: list[Place] = []

    def add(node: ast.expr | ast.stmt, new: str, kind: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        found.append((node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, new, kind))

    def source(node: ast.AST) -> str:
        return ast.get_source_segment(text, node) or ""

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
            right = node.comparators[0]
            add(node, f"({source(node.left)} {SWAPS[type(node.ops[0])]} {source(right)})", "comparison")
        elif isinstance(node, ast.BoolOp):
            word = " and " if isinstance(node.op, ast.Or) else " or "
            add(node, f"({word.join(f'({source(each)})' for each in node.values)})", "and/or")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            add(node, f"({source(node.operand)})", "not")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
            sign = "-" if isinstance(node.op, ast.Add) else "+"
            if not isinstance(node.left, (ast.JoinedStr, ast.List, ast.Tuple)):
                add(node, f"({source(node.left)} {sign} {source(node.right)})", "+/-")
        elif isinstance(node, ast.Constant) and node.value.__class__ is int and node.value in (0, 1, 2):
            add(node, str(node.value + 1), "number")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            add(node, str(not node.value), "constant")
        elif isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await)):
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            if isinstance(call, ast.Call):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                add(node, "pass", "telling gone" if name in TELLING else "call gone")
        elif isinstance(node, ast.Return) and node.value is not None and source(node.value) != "None":
            add(node, "return None", "return None")
        elif isinstance(node, ast.AugAssign):
            add(node, "pass", "assignment gone")
    return found


def changed(text: str, place: Place) -> str:
    """The module with one place changed."""
    line, column, last, end, new, _ = place
    lines = text.encode().split(b"\n")
    lines[line - 1 : last] = [lines[line - 1][:column] + new.encode() + lines[last - 1][end:]]
    return b"\n".join(lines).decode()


@cache
def _tests() -> list[tuple[Path, str]]:
    return [(path, path.read_text()) for path in sorted((ROOT / "tests").rglob("test_*.py"))]


def test_files(module: Path) -> list[str]:
    """Those that import the module, or else lie in the folder of its name; few imports first."""
    dotted = ".".join(module.relative_to(SOURCE).with_suffix("").parts)
    package = dotted.rpartition(".")[0]
    name = dotted.rpartition(".")[2]
    direct, near, far = [], [], []
    for path, text in _tests():
        if "pytestmark = pytest.mark.long" in text or "reproducers" in path.parts or "fuzz" in path.parts:
            continue
        imports = len(re.findall(r"^from gmemsim", text, re.MULTILINE))
        shown = str(path.relative_to(ROOT))
        if re.search(
            rf"(from {re.escape(dotted)} import|from {re.escape(package)} import [^\n]*\b{name}\b)", text
        ):
            direct.append((imports, shown))
        elif name in path.stem or path.stem.removeprefix("test_") in name:
            near.append((imports, shown))
        elif f"from {package}" in text or package.split(".")[1:2] == list(
            path.relative_to(ROOT / "tests").parts[:1]
        ):
            far.append((imports, shown))
    order = [shown for group in (direct, near, far) for _, shown in sorted(group)]
    return order[:FILES]


def start(module: Path, place: Place, files: list[str], said: Path) -> int:
    """Fork a process that runs the tests with the one place changed; its id.

    Everything but the package is imported already. Processes that a test starts see the package as it is.
    """
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        os.chdir(ROOT)
        with said.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.path.insert(0, str(SOURCE))
        text = changed(module.read_text(), place)
        whole = SourceFileLoader.get_code

        def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
            if loader.path == str(module):
                return compile(text, loader.path, "exec", dont_inherit=True)
            return whole(loader, name)

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
        # A plugin's package would be loaded by pytest, for the sake of its assertions.
        rewritten = AssertionRewritingHook.find_spec

        def find_spec(hook: AssertionRewritingHook, name: str, *more: Any) -> ModuleSpec | None:
            return None if name.partition(".")[0] == "gmemsim" else rewritten(hook, name, *more)

        AssertionRewritingHook.find_spec = find_spec  # type: ignore[method-assign]
        code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-m", "not long", *_QUIET, *files]))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def judge(module: Path, place: Place, files: list[str], code: int | None, said: Path) -> dict[str, object]:
    """What came of one mutant; a code of None: its tests had no end."""
    text = said.read_text(errors="replace")
    line, column, _, _, new, kind = place
    by = next((each for each in text.splitlines() if each.startswith(("FAILED", "ERROR", "E  "))), "")
    if code == 0:
        verdict = "survived"
    elif code in (3, 5) or "usage:" in text:
        verdict = "no tests"
    else:
        verdict = "killed"
    return {
        "module": str(module.relative_to(SOURCE / "gmemsim")), "line": line, "column": column, "kind": kind, "new": new,
        "old": module.read_text().split("\n")[line - 1].strip(), "verdict": verdict,
        "by": "no end" if code is None else by[:160], "files": files,
    }  # fmt: skip


def run_all(drawn: list[tuple[Path, Place]], jobs: int, seconds: float, out: TextIO) -> None:
    """All of them, `jobs` at a time; none is begun after so many seconds."""
    began = time.monotonic()
    running: dict[int, tuple[int, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        waiting = list(range(len(drawn)))
        plans = [test_files(module) for module, _ in drawn]
        while running or (waiting and time.monotonic() - began < seconds):
            while waiting and len(running) < jobs and time.monotonic() - began < seconds:
                number = waiting.pop(0)
                said = Path(folder) / str(number)
                running[start(*drawn[number], plans[number], said)] = number, time.monotonic()
            done, status = os.waitpid(-1, os.WNOHANG)
            code: int | None = os.waitstatus_to_exitcode(status) if done else None
            for child, (_, since) in list(running.items()):
                if not done and time.monotonic() - since > LIMIT:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    done = child
            if done:
                number, _ = running.pop(done)
                row = judge(*drawn[number], plans[number], code, Path(folder) / str(number))
                print(json.dumps(row), file=out, flush=True)
            else:
                time.sleep(0.05)


def draw(count: int, seed: int) -> list[tuple[Path, Place]]:
    """Modules in turn, so that each room has its share; a place of each at random. A fifth are lines that only tell."""
    random = Random(seed)
    modules = [path for path in sorted((SOURCE / "gmemsim").rglob("*.py")) if path.name != "__init__.py"]
    random.shuffle(modules)
    drawn: list[tuple[Path, Place]] = []
    seen: set[tuple[Path, Place]] = set()
    while len(drawn) < count:
        for module in modules:
            found = places(module.read_text())
            telling = [place for place in found if place[5] == "telling gone"]
            pool = telling if telling and random.random() < 0.5 else found
            if pool and (one := (module, random.choice(pool))) not in seen:
                seen.add(one)
                drawn.append(one)
                if len(drawn) == count:
                    break
    return drawn


def page(rows: list[dict[str, object]], reasons: dict[str, str]) -> str:
    """docs/mutants_package.md."""
    rooms = Counter((str(row["module"]).partition("/")[0], row["verdict"]) for row in rows)
    killed = sum(row["verdict"] == "killed" for row in rows)
    kinds = Counter((row["kind"], row["verdict"]) for row in rows)
    lines = [
        "# Mutants of the package", "",
        f"{len(rows)} places of the package changed, one at a time, drawn at random over its modules; {killed} are",
        f"noticed by the at most {FILES} test files that import the module; the first failing test ends the run. The",
        "rest of the suite was not asked, so a survivor here may well die there.", "",
        "`python bench/mutants/package.py --count 320 --seed 1 --out FILE`, then `--page FILE` wrote this page.", "",
        "| folder | killed | survived |", "|---|--:|--:|",
    ]  # fmt: skip
    lines += [
        f"| `{room}` | {rooms[room, 'killed']} | {rooms[room, 'survived'] + rooms[room, 'no tests']} |"
        for room in sorted({room for room, _ in rooms})
    ]
    lines += ["", "| change | killed | survived |", "|---|--:|--:|"]
    lines += [
        f"| {kind} | {kinds[kind, 'killed']} | {kinds[kind, 'survived'] + kinds[kind, 'no tests']} |"
        for kind in sorted({kind for kind, _ in kinds}, key=str)
    ]
    lines += ["", "## Survivors", "", "| place | was | change | what it is |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (str(row["module"]), str(row["line"]))):
        if row["verdict"] != "killed":
            place = f"{row['module']}:{row['line']}"
            why = reasons.get(f"{place} {row['kind']}", "not looked at")
            old, new = (str(row[key]).replace("|", "\\|").replace("`", "'")[:70] for key in ("old", "new"))
            lines.append(f"| `{place}` | `{old}` | {row['kind']}: `{new}` | {why} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3_600, help="begin no mutant after that")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument(
        "--page", type=Path, nargs="+", help="write the page from these files, and run nothing"
    )
    options = parser.parse_args()
    if options.page:
        rows = [json.loads(line) for path in options.page for line in path.read_text().splitlines()]
        known = Path(__file__).parent / "survivors.json"
        reasons = json.loads(known.read_text()) if known.exists() else {}
        (ROOT / "docs" / "mutants_package.md").write_text(page(rows, reasons))
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w") as out:
        run_all(draw(options.count, options.seed), options.jobs, options.seconds, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
