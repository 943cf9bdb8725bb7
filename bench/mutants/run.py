"""Change one place of the modelled kernel at a time, and see which scenario and which rule find it.

    python bench/mutants/run.py [NAME ...] [--schedules N] [--seconds N] [--page] [--jobs N]

The tables beside this file (one a room) name the file under src/gmemsim, the function, the text and what replaces it,
and the cells that are searched: scenario, version, VM type. Each mutant runs in a process of its own, in which the
module is changed while it is imported; no file is. A mutant counts as found if a cell fails under some rule while the
kernel as it is does not fail there under that rule in as many schedules. Exit code 1 if one is found by no cell, or by
another rule than its table says, or if one that its table calls equivalent is found.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
PAGE = HERE.parents[1] / "docs" / "mutants.md"
ROOMS = {
    "mm": "Kernel: page cache, host mappings, memory failure",
    "kvm": "Kernel: files, slots, invalidation, faults, conversion",
    "arch": "Hardware and its drivers",
    "patches": "Versions",
}


HEAD = """# Mutants of the kernel

{count} versions of the modelled kernel with one place changed: a guard gone, a lock shrunk, two steps swapped. For
each, the scenario that finds it (with version and VM type) and the rule, within {schedules} schedules of strategy
`portfolio` in the scenario's small size. Rules are the oracles' (`docs/oracles.md`); `deadlock`, `livelock`,
`unexpected_outcome` and the names of exceptions are the engine's. The kernel as it is does not fail under that rule in
the same search (as many schedules, or {seconds:g} s of a shared machine).
{equivalent} are equivalent and {survivors} were not found, with the reasons. A mutant that is found
says that its kind of harm is looked for there, and nothing of bugs of other kinds.

`python bench/mutants/run.py --page` wrote this page from the tables `bench/mutants/*.toml`.
"""


@attrs.frozen(kw_only=True)
class Mutant:
    """One change.

    Attributes:
        name, room: of the mutant, and of its table.
        file: below src/gmemsim.
        within: function (or class attribute's line) in which the texts are looked for.
        what: what is wrong, in a few words.
        old, new: text that occurs once there, and what replaces it. `gone`: a statement that becomes `pass`.
        swap: two texts that change places. `also`: more pairs of old and new.
        cells: what is searched, in order, until one finds it; `scenario version arch [KEY=VALUE ...]`.
        rule: what finds it, as recorded.
        equivalent: why nothing can find it.
        survives: what it would take to find it, where these cells do not.
    """

    name: str
    room: str
    file: str
    what: str
    cells: list[str]
    within: str = ""
    old: str = ""
    new: str = ""
    gone: str = ""
    swap: tuple[str, ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    rule: str = ""
    equivalent: str = ""
    survives: str = ""

    def apply(self, source: str) -> str:
        """The module with the change in it.

        Raises:
            ValueError: a text is not there, or not once.
        """
        before, body, after = self._split(source)
        pairs = [(self.old, self.new)] if self.old else []
        if self.gone:
            pairs.append((self.gone, "pass"))
        if self.swap:
            first, second = self.swap
            mark = "\0"
            pairs += [(first, mark), (second, first), (mark, second)]
        for old, new in [*pairs, *self.also]:
            if body.count(old) != 1:
                raise ValueError(
                    f"{self.name}: {old!r} is {body.count(old)} times in {self.file}, {self.within}"
                )
            body = body.replace(old, new)
        return before + body + after

    def _split(self, source: str) -> tuple[str, str, str]:
        if not self.within:
            return "", source, ""
        head = re.search(rf"^( {{4}})?(?:async )?def {self.within}\(", source, re.MULTILINE)
        if head is None:
            raise ValueError(f"{self.name}: no function {self.within} in {self.file}")
        start, indent = head.start(), head[1] or ""
        # A method, or a function of the kernel, which stands in its module.
        behind = re.compile(rf"^(?:{indent}(?:async def |def |@)|class |def |async def )", re.MULTILINE)
        following = behind.search(source, head.end())
        end = len(source) if following is None else following.start()
        return source[:start], source[start:end], source[end:]


def table() -> dict[str, Mutant]:
    """Every mutant by name, room by room."""
    found: dict[str, Mutant] = {}
    for room in ROOMS:
        for name, entry in tomllib.loads((HERE / f"{room}.toml").read_text(encoding="utf-8")).items():
            entry["also"] = tuple((old, new) for old, new in entry.get("also", ()))
            found[name] = Mutant(name=name, room=room, **entry)
    return found


class _Changed(MetaPathFinder):
    """Finds one module and compiles it with the change."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._module = "gmemsim." + mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The spec with our loader, for that one module."""
        if name != self._module:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        mutant = self._mutant

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> Any:
                return compile(mutant.apply(Path(self.path).read_text(encoding="utf-8")), self.path, "exec")

        spec.loader = Loader(name, spec.origin)
        return spec


def search_cell(cell: str, schedules: int, seconds: float) -> dict[str, Any]:
    """Search until the first failure that is no known finding of the version; with all oracles, in small sizes."""
    from gmemsim.explore.judges.livelock import judge
    from gmemsim.explore.program import ScenarioProgram
    from gmemsim.explore.search import Limits, search
    from gmemsim.explore.strategies import make_strategy
    from gmemsim.scenarios.catalogue import load_named

    scenario, patch, arch, *sets = cell.split()
    parameters = {key: int(value) for key, value in (each.split("=") for each in sets)}
    program = ScenarioProgram(
        scenario=load_named(scenario), patch=patch, arch=arch, parameters=parameters or None
    )
    try:
        result = search(
            program, make_strategy("portfolio", 0), Limits(schedules=schedules, seconds=seconds), judge=judge
        )
    except Exception as error:  # a kernel that breaks is found too
        if type(error).__name__ == "ScenarioError":
            raise
        return {"rule": type(error).__name__, "summary": str(error)[:200], "schedules": 0}
    failure = result.found[0].failure if result.found else None
    return {
        "rule": "" if failure is None else failure.rule,
        "summary": "" if failure is None else failure.summary[:200],
        "schedules": result.schedules,
    }


def child(name: str, schedules: int, seconds: float) -> None:
    """In a process of its own: one mutant (or, with an empty name, no change), JSON on stdout."""
    mutant_name, _, only = name.partition("@")
    if mutant_name:
        mutant = table()[mutant_name]
        sys.meta_path.insert(0, _Changed(mutant))
        cells = mutant.cells
    else:
        cells = [only]
    for cell in cells:
        found = {"cell": cell, **search_cell(cell, schedules, seconds)}
        print(json.dumps(found), flush=True)
        if found["rule"]:
            return


def run(name: str, schedules: int, seconds: float) -> list[dict[str, Any]]:
    """What the cells of a mutant came to, in order."""
    command = [
        sys.executable,
        __file__,
        "--child",
        name,
        "--schedules",
        str(schedules),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [{"cell": "", "rule": "", "summary": done.stderr.strip().splitlines()[-1], "schedules": 0}]
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdict(mutant: Mutant, rows: list[dict[str, Any]]) -> str:
    """Empty if all is as the table says, else what is not."""
    rule = rows[-1]["rule"] if rows else ""
    if not rows or not rows[-1]["cell"]:
        return f"did not run: {rows[-1]['summary'] if rows else 'no cell'}"
    if mutant.equivalent:
        return f"is called equivalent and was found by {rule}" if rule else ""
    if not rule:
        return "" if mutant.survives else "SURVIVES"
    return "" if rule == mutant.rule else f"found by {rule}, the table has {mutant.rule or 'nothing'}"


def page(
    mutants: dict[str, Mutant], results: dict[str, list[dict[str, Any]]], schedules: int, seconds: float
) -> str:
    """docs/mutants.md."""
    equivalent = [mutant for mutant in mutants.values() if mutant.equivalent]
    survivors = [mutant for mutant in mutants.values() if mutant.survives]
    counts = {"count": len(mutants), "equivalent": len(equivalent), "survivors": len(survivors)}
    lines = [HEAD.format(schedules=f"{schedules:,}", seconds=seconds, **counts).rstrip("\n")]
    for room, title in ROOMS.items():
        lines += ["", f"## {title}", "", "| mutant | file | what is wrong | found by | rule | schedules |"]
        lines.append("|---|---|---|---|---|--:|")
        for mutant in mutants.values():
            rows = results.get(mutant.name)
            if mutant.room == room and not (mutant.equivalent or mutant.survives) and rows:
                last = rows[-1]
                cells = (
                    mutant.name,
                    f"`{mutant.file}`",
                    mutant.what,
                    f"`{last['cell']}`",
                    f"`{last['rule']}`",
                )
                lines.append("| " + " | ".join((*cells, str(last["schedules"]))) + " |")
    lines += ["", "## Not found", ""]
    lines += [
        f"* **{mutant.name}** (`{mutant.file}`): {mutant.what}. {mutant.survives}" for mutant in survivors
    ]
    lines += ["", "## Equivalent", ""]
    lines += [
        f"* **{mutant.name}** (`{mutant.file}`): {mutant.what}. {mutant.equivalent}" for mutant in equivalent
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="mutants; default: all")
    parser.add_argument("--schedules", type=int, default=400, help="schedules a cell")
    parser.add_argument("--seconds", type=float, default=40.0, help="wall-clock a cell")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.schedules, options.seconds)
        return 0
    mutants = table()
    unknown = set(options.names) - set(mutants)
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    wanted = options.names or list(mutants)
    wrong = 0
    results: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(options.jobs) as pool:

        def each(names: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
            runs = pool.map(lambda name: run(name, options.schedules, options.seconds), names)
            return zip(names, runs, strict=True)

        for name, rows in each(wanted):
            results[name] = rows
            says = verdict(mutants[name], rows)
            wrong += bool(says)
            last = rows[-1] if rows else {"cell": "", "rule": "", "schedules": 0, "summary": ""}
            found = f"{last['cell']} -> {last['rule'] or '-'} ({last['schedules']}) {last['summary'][:90]}"
            print(f"{says or 'ok'}: {name}: {found}", flush=True)
        by_cell: dict[str, set[str]] = {}
        for rows in results.values():
            if rows and rows[-1]["rule"]:
                by_cell.setdefault(rows[-1]["cell"], set()).add(rows[-1]["rule"])
        for cell, rows in each([f"@{cell}" for cell in by_cell]):
            if rows[-1]["rule"] in by_cell[cell[1:]]:
                wrong += 1
                print(f"{cell[1:]}: the kernel as it is fails there too: {rows[-1]['rule']}", flush=True)
    if options.page:
        PAGE.write_text(page(mutants, results, options.schedules, options.seconds), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
