"""Which test runs which line of the package, found with sys.monitoring (Python 3.12 or newer)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import defaultdict
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from forks import Driver, cpu, run_item
from places import PACKAGE, ROOT, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds of CPU time that a test may take while the map is made.
CPU_MAP = 2
#: After so many variants of a parametrised test that run no line that the others do not, the rest are left out.
VARIANTS = 5
#: Not asked: they run for long, or run the package in other processes only.
LEFT_OUT = ("tests/reproducers", "tests/fuzz", "tests/lab", "tests/plugin", "tests/test_pages.py")


def module_of(filename: str) -> str | None:
    """The path below the package, or None."""
    return filename[len(str(PACKAGE)) + 1 :] if filename.startswith(str(PACKAGE)) else None


def digest(module: str) -> str:
    """Of a module's text."""
    return blake2b((PACKAGE / module).read_bytes(), digest_size=6).hexdigest()


class Lines:
    """Which lines of the package run, by sys.monitoring."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = defaultdict(int)
        self._at = sys.monitoring
        self._at.use_tool_id(self._at.COVERAGE_ID, "mutants")
        self._at.register_callback(self._at.COVERAGE_ID, self._at.events.LINE, self._line)

    def _line(self, code: Any, line: int) -> object:
        if (module := module_of(code.co_filename)) is not None:
            self.seen[module] |= 1 << line
        return self._at.DISABLE

    def begin(self) -> None:
        """Forget, and look again."""
        self.seen.clear()
        self._at.set_events(self._at.COVERAGE_ID, self._at.events.LINE)
        self._at.restart_events()

    def end(self) -> dict[str, int]:
        """What ran since then: a bit for each line."""
        self._at.set_events(self._at.COVERAGE_ID, 0)
        return dict(self.seen)


# -- the map -------------------------------------------------------------------------------------------------


def shuffled(items: list[pytest.Item]) -> list[pytest.Item]:
    """The variants of each test in another order, in their places, so that neighbours that are alike come apart."""
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        groups[item.nodeid.partition("[")[0]].append(item)
    for name, group in groups.items():
        Random(name).shuffle(group)
    return [groups[item.nodeid.partition("[")[0]].pop() for item in items]


class Alike:
    """Variants of a test that run nothing new, one after another."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._dry: dict[str, int] = defaultdict(int)

    def enough(self, test: str) -> bool:
        """Whether another variant is not worth its time."""
        return self._dry[test.partition("[")[0]] >= VARIANTS

    def add(self, test: str, lines: dict[str, int]) -> None:
        """What a variant ran."""
        name = test.partition("[")[0]
        known = self._known[name]
        new = any(bits & ~known[module] for module, bits in lines.items())
        self._dry[name] = 0 if new else self._dry[name] + 1
        for module, bits in lines.items():
            known[module] |= bits


def watched(driver: Driver, lines: Lines, alike: Alike, items: list[pytest.Item], write: int) -> None:
    """Run them, and write a line about each."""
    for at, item in enumerate(items):
        row: dict[str, object] = {"test": item.nodeid, "cpu": -1, "why": "alike"}
        if not alike.enough(item.nodeid):
            driver.failed, driver.skipped = "", False
            lines.begin()
            before = cpu()
            run_item(items, at, CPU_MAP)
            ran = lines.end()
            row["why"] = driver.failed or "skipped"
            if not driver.failed and not driver.skipped:
                alike.add(item.nodeid, ran)
                shown = {module: f"{bits:x}" for module, bits in ran.items()}
                row = {"test": item.nodeid, "cpu": round(cpu() - before, 3), "lines": shown}
        blob = memoryview(json.dumps(row).encode() + b"\n")
        while blob:
            with contextlib.suppress(BlockingIOError):
                blob = blob[os.write(write, blob) :]


def make_map(file: Path) -> Callable[[Driver, list[pytest.Item]], None]:
    """A line a test: seconds of CPU time, lines of each module."""

    def work(driver: Driver, items: list[pytest.Item]) -> None:
        lines = Lines()
        done = {row["test"] for row in rows_of(file)}
        files: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in shuffled(items):
            if item.nodeid not in done and not item.nodeid.startswith(LEFT_OUT):
                files[item.path].append(item)
        with file.open("a") as out:
            print(json.dumps({"test": "", "digests": {m: digest(m) for m in modules()}}), file=out)
            for path, waiting in files.items():
                left, alike = waiting, Alike()
                while left:
                    ran = partial(watched, driver, lines, alike, left)
                    said, ended = driver.fork(ran)
                    for line in said:
                        print(line, file=out)
                    finished = len(said)
                    if ended and finished < len(left):
                        print(json.dumps({"test": left[finished].nodeid, "cpu": -1, "why": ended}), file=out)
                        finished += 1
                    out.flush()
                    left = left[finished:]
                print(f"{path.relative_to(ROOT)}: {len(waiting)}", flush=True)

    return work


def modules() -> Iterator[str]:
    """All of the package."""
    return (str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py")))


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The lines of a file that may not be there, or end within a line."""
    rows = []
    if file.exists():
        for line in file.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


class Map:
    """Which tests run a line."""

    def __init__(self, file: Path) -> None:
        self.cpu: dict[str, float] = {}
        self._lines: dict[str, dict[str, str]] = {}
        self._digests: dict[str, dict[str, str]] = {}
        digests: dict[str, str] = {}
        for row in rows_of(file):
            digests = row.get("digests", digests)
            if row.get("cpu", -1) >= 0:
                self.cpu[row["test"]] = row["cpu"]
                self._lines[row["test"]] = row["lines"]
                self._digests[row["test"]] = digests

    def forget(self, files: tuple[str, ...]) -> None:
        """As if they were not there."""
        for test in [test for test in self.cpu if test.startswith(files)] if files else []:
            del self.cpu[test], self._lines[test]

    def tests(self, place: Place) -> list[str]:
        """Quick ones first, five times as much for those of the same folder.

        If the module was another when the test ran: all that ran any line of it.
        """
        bit = 1 << place.line
        now = digest(place.module)
        folder = f"tests/{place.module.partition('/')[0]}/"
        found = []
        for test, lines in self._lines.items():
            bits = int(lines.get(place.module, "0"), 16)
            if bits & bit or (bits and self._digests[test].get(place.module) != now):
                found.append((self.cpu[test] / (5 if test.startswith(folder) else 1), test))
        return [test for _, test in sorted(found)]

    def plan(self, place: Place, budget: float) -> list[str]:
        """As many as fit into the budget."""
        chosen: list[str] = []
        for test in self.tests(place):
            if (budget := budget - self.cpu[test] - 0.003) < 0:
                break
            chosen.append(test)
        return chosen
