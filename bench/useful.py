"""Is the comparison of versions useful: rows, noise and the rank of the series' own change, scenario by scenario.

    python bench/useful.py [--seeds N] [--small]      measure, and write docs/useful.json
    python bench/useful.py --before SOURCES           the same of an older gmemsim, whose `src` folder is SOURCES
    python bench/useful.py --write                    put the tables of docs/useful.json into docs/compare.md

For each of 16 scenarios: how many rows each pair of versions has, how many more were folded as noise, and at which rank
the series' change stands where it happens: `prepare` after `set_uptodate` instead of before. `v3` beside itself is N
seeds against the next N. An older gmemsim (commit 241fddb) compares one seed a side, so there `v3` beside itself
is seed 0 against seed 1, nothing is folded, and the rank is that of its row about the order of `set_uptodate`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gmemsim.compare.collect import collect_seeds
from gmemsim.compare.diff import diff_sets
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.catalogue import find
from gmemsim.scenarios.session import finish

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIGURES = DOCS / "useful.json"
PAGE = DOCS / "compare.md"
MARKS = "<!-- bench/useful.py -->\n", "<!-- end -->\n"

CASES = (
    ("punch", "snp"), ("same", "snp"), ("conv1", "snp"), ("conv1", "tdx"), ("prefault", "tdx"), ("slot_delete", "snp"),
    ("hot1", "sw-protected"), ("mmap_punch", "default"), ("memory_failure", "snp"), ("populate_twice", "snp"),
    ("populate_busy", "snp"), ("launch", "tdx"), ("host_private", "sw-protected"), ("implicit_convert", "snp"),
    ("recycle", "snp"), ("lazy_accept", "tdx"),
)  # fmt: skip
PAIRS = (
    ("v3", "v3"), ("baseline", "v3"), ("v1", "v3"), ("v2", "v3"), ("v3", "mainline-7.3"), ("mainline-7.3", "inplace"),
    ("baseline", "inplace"),
)  # fmt: skip


def gmemsim(arguments: list[str], sources: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command, of the gmemsim under `sources` if it is given."""
    environment = os.environ if sources is None else os.environ | {"PYTHONPATH": str(sources)}
    return subprocess.run(
        [sys.executable, "-m", "gmemsim", *arguments],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def after(left: str, right: str, scenario: str, arch: str, seeds: int, small: bool) -> dict[str, Any]:
    """Rows, folded rows, and the rank of the change; or why there is no answer."""
    if left == right:
        return itself(left, scenario, arch, seeds, small)
    arguments = ["diff", left, right, "--scenario", scenario, "--arch", arch, "--json"]
    arguments += ["--small"] if small else []
    done = gmemsim([*arguments, "--seeds", str(seeds)])
    if done.returncode > 1:
        return {"refused": done.stderr.strip()}
    found = json.loads(done.stdout)
    return {
        "rows": len(found["changes"]),
        "noise": found["noise"],
        "rank": _rank(found["changes"], lambda row: row["kind"] == "preparation"),
    }


def itself(patch: str, scenario: str, arch: str, seeds: int, small: bool) -> dict[str, Any]:
    """A version beside itself with other seeds: whatever is found is noise that was not told."""
    program = ScenarioProgram(scenario=find(scenario), patch=patch, arch=arch, small=small)
    sides = [
        collect_seeds(
            program, range(first, first + seeds), lambda session: finish(session, "bare"), lambda _: None
        )
        for first in (0, seeds)
    ]
    found = diff_sets(sides[0].runs, sides[1].runs, sides[0].names, (sides[0].first, sides[1].first))
    return {"rows": len(found.changes), "noise": found.noise, "rank": None}


def before(left: str, right: str, scenario: str, arch: str, sources: Path) -> dict[str, Any]:
    """The same of an older gmemsim: one seed a side."""
    workload = [scenario, "--arch", arch]
    if left == right:
        with tempfile.TemporaryDirectory() as folder:
            logs = [str(Path(folder) / f"{seed}.jsonl") for seed in (0, 1)]
            for seed, log in enumerate(logs):
                gmemsim(["run", *workload, "--patch", left, "--seed", str(seed), "--log", log], sources)
            done = gmemsim(["diff", *logs, "--json"], sources)
    else:
        done = gmemsim(["diff", left, right, "--scenario", *workload, "--json"], sources)
    if done.returncode > 1:
        return {"refused": done.stderr.strip()}
    rows = json.loads(done.stdout)["changes"]
    return {
        "rows": len(rows),
        "rank": _rank(rows, lambda row: row["kind"] == "order" and row["event"] == "set_uptodate"),
    }


def _rank(rows: list[dict[str, Any]], wanted: Any) -> int | None:
    return next((number for number, row in enumerate(rows, 1) if wanted(row)), None)


def table(figures: dict[str, Any]) -> str:
    """A table of measured figures."""
    text = "| scenario, VM type | " + " | ".join(f"{left} → {right}" for left, right in PAIRS) + " |\n"
    text += "|---" * (len(PAIRS) + 1) + "|\n"
    for case, cells in figures.items():
        text += f"| {case} | " + " | ".join(_cell(cell) for cell in cells) + " |\n"
    return text


def _cell(cell: dict[str, Any]) -> str:
    if "refused" in cell:
        return "refused"
    text = str(cell["rows"])
    if "noise" in cell:
        text += f" ({cell['noise']})"
    return text if cell["rank"] is None else f"{text}, rank {cell['rank']}"


def write() -> None:
    """Put the tables into the page, between the marks."""
    found = json.loads(FIGURES.read_text())
    text = "Before (commit 241fddb: one seed a side, nothing folded; rows, and the rank of that row):\n\n"
    text += table(found["before"])
    sizes = ", the scenarios' small sizes" if found["small"] else ""
    text += (
        f"\nNow ({found['seeds']} seeds a side{sizes}; rows, in brackets what was folded as noise, rank):\n\n"
    )
    text += table(found["after"])
    page = PAGE.read_text()
    head, _, rest = page.partition(MARKS[0])
    if not rest:
        raise SystemExit(f"{PAGE}: expected the marks {MARKS}")
    PAGE.write_text(head + MARKS[0] + "\n" + text + "\n" + MARKS[1] + rest.partition(MARKS[1])[2])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--small", action="store_true", help="the scenarios' small sizes")
    parser.add_argument("--before", type=Path, metavar="SOURCES")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        write()
        return
    figures: dict[str, Any] = {}
    for scenario, arch in CASES:
        cells = [
            after(*pair, scenario, arch, arguments.seeds, arguments.small)
            if arguments.before is None
            else before(*pair, scenario, arch, arguments.before)
            for pair in PAIRS
        ]
        figures[f"{scenario} {arch}"] = cells
        print(f"{scenario} {arch}:", *map(_cell, cells), sep="  ", flush=True)
    found = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if arguments.before is None:
        found |= {"seeds": arguments.seeds, "small": arguments.small, "after": figures}
    else:
        found["before"] = figures
    FIGURES.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
