"""Comparing two logs of a million events: the same run, another schedule of it, another version.

    python bench/diff.py [--rounds N]

Logs come from the library's `punch` with 800 rounds a task. Each comparison runs in a process of its own, so that its
peak of memory is its own; sides are read from files, plain and compressed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

#: Read both files, compare them, and say how long each took and what it held at most.
COMPARE = """
import json, resource, sys, time
from gmemsim.compare.diff import diff
from gmemsim.audit.reader import read_log

began = time.perf_counter()
sides = [[(record.actor, record.event) for record in read_log(path)] for path in sys.argv[1:]]
read = time.perf_counter() - began
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
found = diff(*sides)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([len(sides[0]), len(sides[1]), read, seconds, idle, peak, len(found.changes)]))
"""

#: Name of a log: patch version, seed.
LOGS = {"v3": ("v3", "0"), "v3, other times": ("v3", "1"), "baseline": ("baseline", "0")}


def record(directory: Path, rounds: int) -> dict[str, Path]:
    """The logs, plain, by name; `.zst` beside each."""
    paths = {}
    for number, (name, (patch, seed)) in enumerate(LOGS.items()):
        for suffix in (".jsonl", ".jsonl.zst"):
            path = directory / f"{number}{suffix}"
            given = ["--patch", patch, "--seed", seed, "--set", f"rounds={rounds}", "--log", str(path)]
            command = [
                sys.executable,
                "-m",
                "gmemsim",
                "run",
                "punch",
                "--no-check",
                "--limit",
                "100s",
                *given,
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        paths[name] = directory / f"{number}.jsonl"
    return paths


def compare(left: Path, right: Path) -> list[float]:
    """What `COMPARE` prints."""
    command = [sys.executable, "-c", COMPARE, str(left), str(right)]
    answer: list[float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return answer


def table(rounds: int) -> list[str]:
    """One row a comparison."""
    lines = [
        "| left | right | files | events | read, s | compare, s | events/s | peak, MB (both read) | changes |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory() as directory:
        paths = record(Path(directory), rounds)
        for right in LOGS:
            for suffix in (".jsonl", ".jsonl.zst"):
                sides = [paths[name].with_suffix("").with_suffix(suffix) for name in ("v3", right)]
                left_events, right_events, read, seconds, idle, peak, changes = compare(*sides)
                events = left_events + right_events
                lines.append(
                    f"| v3 | {right} | {suffix} | {events:,.0f} | {read:.1f} | {seconds:.1f} | {events / seconds:,.0f} "
                    f"| {peak / 1024:,.0f} ({idle / 1024:,.0f}) | {changes:,.0f} |"
                )
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=800, help="of each task of the workload")
    print("\n".join(table(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
