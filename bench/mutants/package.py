"""Mutants of the package itself: one place of one function changed, and whether a test of the suite notices.

    python bench/mutants/package.py map [TESTS ...]          which test runs which line (Python 3.12 or newer)
    python bench/mutants/package.py run --count 340 --seed 1
    python bench/mutants/package.py again [TESTS ...]        the survivors, by these tests or with more --seconds
    python bench/mutants/package.py page                     docs/package_mutants.md

The tests are collected once. For the map each test file runs in a fork; a test that takes more than CPU_MAP seconds of
CPU time is left out. For each mutant a fork changes the function in place and runs tests that run the changed line,
quick ones and those of the same folder first, until one fails. Both files grow line by line and are taken up where they
ended (--map, --out). Processes that a test starts see the package as it is, so a mutant that only those would notice
survives here. Why a survivor survives is in survivors.json beside this file, by the key that `run` prints.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forks import Driver, collect, run_item
from places import PACKAGE, ROOT, WEIGHTS, Bound, Place, draw, loaded, places, swap
from which_tests import CPU_MAP, Map, make_map, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds of CPU time that the tests of one mutant took in the map, at most.
CPU_MUTANT = 4
PAGE = ROOT / "docs" / "package_mutants.md"
HEAD = """# Mutants of the package

{count} places of functions of the package, changed one at a time: a comparison turned round, a call or an event
left out, a constant off by one. Drawn at random (seed 1), folder by folder, most where verdicts come from. A
*listener* mutant takes away the check that somebody listens, a *telling* mutant the line that tells: an event,
or what the reduction is told of a step.

Each first ran tests that run the changed line, quick ones and those of the same folder before others, until one
failed or they had taken 0.4 to 4 seconds of CPU time; that is *noticed at first*, and says little of a folder
whose tests take longer. Then tests were written for what survived, and more of the old ones were asked: {died}
are *noticed now*, {stuck} of them because a test had no end or its process died. Of the rest {same} are
*equivalent*: nothing that the package says or does differs. {left} are left, with what is known of each.

What this does not say: a test that fails may fail for a small reason; a sample of {count} of some 23,500 places
says nothing of one place that is not in it; tests that take more than two seconds were asked only where a reason names
them; those of `tests/lab`, `tests/fuzz` and `tests/reproducers` and all that
run the package in processes of their own were not asked;
places at module level (tables, fields of classes) are not drawn.

`python bench/mutants/package.py map`, then `run --count 340 --seed 1`, `again`, `page` (it wrote this page;
reasons are in `bench/mutants/survivors.json`).
"""
REASONS = Path(__file__).parent / "survivors.json"


# -- the mutants ----------------------------------------------------------------------------------------------


def run_mutants(
    drawn: list[Place], plans: dict[str, list[str]] | None, known: Map, out: Path
) -> Callable[[Driver, list[pytest.Item]], None]:
    """A line a mutant; without plans every test that was collected runs for each."""

    def work(driver: Driver, items: list[pytest.Item]) -> None:
        by_name = {item.nodeid: item for item in items}
        gc.collect()
        bound = loaded()
        gc.freeze()
        if plans is None:
            verdict, by, _ = attempt(driver, None, items, known, bound)
            if verdict != "survived":
                print(f"nothing is changed, and a test fails: {by}")
                return
        with out.open("a") as file:
            for place in drawn:
                names = list(by_name) if plans is None else plans[place.key]
                chosen = [by_name[test] for test in names if test in by_name]
                began = time.monotonic()
                verdict, by, ran = attempt(driver, place, chosen, known, bound)
                took = round(time.monotonic() - began, 1)
                row = {
                    "key": place.key, "module": place.module, "function": place.function, "line": place.line,
                    "kind": place.kind, "verdict": verdict, "by": by, "ran": ran, "seconds": took,
                    "covering": len(known.tests(place)),
                }  # fmt: skip
                print(json.dumps(row), file=file, flush=True)
                print(f"{verdict}: {place.key} ({ran} of {row['covering']} tests) {by}", flush=True)

    return work


def attempt(
    driver: Driver, place: Place | None, chosen: list[pytest.Item], known: Map, bound: Bound
) -> tuple[str, str, int]:
    """Run the tests with the place changed (None: nothing is): verdict, the test that failed, how many ran."""

    def one(write: int) -> None:
        gc.enable()
        if place is not None and (trouble := swap(place, bound)):
            os.write(write, json.dumps({"trouble": trouble}).encode() + b"\n")
            return
        driver.failed = ""
        for at, item in enumerate(chosen):
            run_item(chosen, at, 3 + 10 * known.cpu.get(item.nodeid, CPU_MAP))
            os.write(write, json.dumps({"failed": driver.failed}).encode() + b"\n")
            if driver.failed:
                return

    if not chosen:
        return "no test", "", 0
    said, ended = driver.fork(one)
    answers = [json.loads(line) for line in said]
    ran = sum("failed" in row for row in answers)
    for row in answers:
        if row.get("failed"):
            return "killed", row["failed"], ran
        if "trouble" in row:
            return "not run", row["trouble"], ran
    if ended:
        error = answers[-1].get("error", "")[-100:] if answers else ""
        return "killed", f"{chosen[min(ran, len(chosen) - 1)].nodeid}: {ended} {error}".strip(), ran
    return "survived", "", ran


# -- what came of it -------------------------------------------------------------------------------------------


def survivors(rows: list[dict[str, Any]]) -> list[Place]:
    """Where the last word on a mutant is not that a test failed; those whose text is no longer there are left out."""
    last = {row["key"]: row for row in rows}
    keys = {key for key, row in last.items() if row["verdict"] != "killed"}
    here = {str(last[key]["module"]) for key in keys if (PACKAGE / str(last[key]["module"])).exists()}
    found = [place for module in sorted(here) for place in places(module)]
    return [place for place in found if place.key in keys]


def page(rows: list[dict[str, Any]], reasons: dict[str, str]) -> str:
    """docs/package_mutants.md."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["key"], row)
    last = {row["key"]: row for row in rows}
    died = {key for key, row in last.items() if row["verdict"] == "killed"}
    at_once = {key for key, row in first.items() if row["verdict"] == "killed"}
    same = {key for key in last.keys() - died if reasons.get(key, "").startswith("equivalent")}

    def counted(title: str, of: Callable[[dict[str, Any]], str], names: list[str]) -> list[str]:
        lines = [
            "",
            f"| {title} | mutants | noticed at first | noticed now | equivalent | left |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for name in [*names, "all"]:
            keys = {key for key, row in last.items() if name in {"all", of(row)}}
            figures = (keys, keys & at_once, keys & died, keys & same, keys - died - same)
            lines.append(f"| {name} | " + " | ".join(str(len(each)) for each in figures) + " |")
        return lines

    kinds = Counter(str(row["kind"]) for row in last.values())
    stuck = sum(": no end" in last[key]["by"] or ": exit" in last[key]["by"] for key in died)
    lines = HEAD.format(
        stuck=stuck, count=len(last), died=len(died), same=len(same), left=len(last) - len(died) - len(same)
    ).splitlines()
    lines += counted("folder", lambda row: str(row["module"]).partition("/")[0], list(WEIGHTS))
    lines += counted("change", lambda row: str(row["kind"]), sorted(kinds))
    for title, chosen in (("Left", last.keys() - died - same), ("Equivalent", same)):
        lines += ["", f"## {title}", ""]
        for key in sorted(chosen):
            module, function, kind, old, new, *_ = key.split(" | ")
            change = (
                f"`{short(old)}` is `{short(new)}`"
                if new not in {"pass", "__class__"}
                else f"without `{short(old)}`"
            )
            why = reasons.get(key, "not looked at").removeprefix("equivalent: ")
            lines.append(f"* `{module}` `{function}` ({kind}), {change}: {why}")
    return "\n".join(lines) + "\n"


def short(code: str) -> str:
    """In a page."""
    return (code if len(code) < 90 else f"{code[:87]}...").replace("`", "'")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("map", "run", "again", "page"))
    parser.add_argument(
        "tests", nargs="*", help="map: files or folders; again: tests that run first (default: of the map)"
    )
    parser.add_argument("--count", type=int, default=340)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[""], help="modules whose path begins so")
    parser.add_argument(
        "--seconds", type=float, default=CPU_MUTANT, help="CPU time of one mutant's tests in the map"
    )
    parser.add_argument("--without", nargs="*", default=(), help="run: test files that are left out")
    parser.add_argument("--map", type=Path, default=ROOT / "build" / "mutants-map.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants.jsonl")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.what == "map":
        if sys.version_info < (3, 12):
            parser.error("the map wants Python 3.12 or newer (sys.monitoring)")
        return collect(make_map(options.map), options.tests)
    rows = rows_of(options.out)
    if options.what == "page":
        PAGE.write_text(page(rows, json.loads(REASONS.read_text())))
        return 0
    known = Map(options.map)
    if options.what == "again":
        drawn = [place for place in survivors(rows) if place.module.startswith(tuple(options.only))]
    else:
        done = {row["key"] for row in rows}
        drawn = [
            place for place in draw(options.count, options.seed, tuple(options.only)) if place.key not in done
        ]
    if options.what == "again" and options.tests:
        return collect(run_mutants(drawn, None, known, options.out), options.tests)
    known.forget(tuple(options.without))
    plans = {place.key: known.plan(place, options.seconds) for place in drawn}
    wanted = {test.partition("::")[0] for plan in plans.values() for test in plan}
    return collect(run_mutants(drawn, plans, known, options.out), sorted(wanted))


if __name__ == "__main__":
    sys.exit(main())
