"""Comparing two logs of nearly a million events, beside git: equal, one value edited, other times, another version.

    python bench/diff.py [--rounds N]

Logs come from the library's `punch` with 800 rounds a task. Each command runs in a process of its own, and its CPU time
and peak of memory are taken, start-up included: `gmemsim diff LEFT RIGHT` and
`git diff --no-index --histogram --stat LEFT RIGHT`, in turn. `divergence` is the time from the end of reading to the
first divergence.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

#: Name of a log: patch version, seed.
LOGS = {"v3": ("v3", "0"), "other times": ("v3", "1"), "baseline": ("baseline", "0")}

DIVERGENCE = """
import sys, time
from gmemsim.compare.diff import collector_paused
from gmemsim.compare.divergence import first_divergence
from gmemsim.compare.logs import read_run
from gmemsim.compare.runs import Steps
with collector_paused():
    steps = Steps()
    sides = [read_run(steps, path).run for path in sys.argv[1:]]
    began = time.process_time()
    first_divergence(steps, *sides)
    print(time.process_time() - began)
"""


def record(directory: Path, rounds: int) -> dict[str, Path]:
    """The logs by name, and a copy of the first with one errno edited near its end."""
    paths = {}
    for number, (name, (patch, seed)) in enumerate(LOGS.items()):
        paths[name] = directory / f"{number}.jsonl"
        given = ["--patch", patch, "--seed", seed, "--set", f"rounds={rounds}", "--log", str(paths[name])]
        command = [sys.executable, "-m", "gmemsim", "run", "punch", "--no-check", "--limit", "100s", *given]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    paths["one value"] = directory / "edited.jsonl"
    process = multiprocessing.Process(target=edit, args=(paths["v3"], paths["one value"]))
    process.start()
    process.join()
    return paths


def edit(path: Path, to: Path) -> None:
    """One errno near the end is another one. In a process of its own: a child's peak starts at its parent's."""
    text = path.read_bytes()
    at = text.rindex(b'"event":"get_pfn_ret","ret":0')
    to.write_bytes(text[:at] + text[at:].replace(b'"ret":0', b'"ret":-5', 1))


def events_in(path: str) -> int:
    """As the end line says."""
    with Path(path).open("rb") as file:
        file.seek(-40, os.SEEK_END)
        return int(file.read().rpartition(b":")[2].strip(b"}\n"))


def cost(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak of memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=800, help="of each task of the workload")
    rounds = parser.parse_args().rounds
    print("| left | right | events | git, CPU s / MB | gmemsim, CPU s / MB | CPU | memory | divergence, s |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as directory:
        paths = record(Path(directory), rounds)
        for right in ("v3", "one value", "other times", "baseline"):
            sides = [str(paths["v3"]), str(paths[right])]
            events = sum(map(events_in, sides))
            git = cost(["git", "diff", "--no-index", "--histogram", "--stat", *sides])
            ours = cost([sys.executable, "-m", "gmemsim", "diff", *sides])
            asked = subprocess.run(
                [sys.executable, "-c", DIVERGENCE, *sides], check=True, capture_output=True, text=True
            )
            print(
                f"| v3 | {right} | {events:,} | {git[0]:.2f} / {git[1]:,.0f} | {ours[0]:.2f} / {ours[1]:,.0f} "
                f"| {ours[0] / git[0]:.1f} x | {ours[1] / git[1]:.2f} x | {float(asked.stdout):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
