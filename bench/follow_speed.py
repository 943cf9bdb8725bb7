"""Events a second of `follow` on traces that the rules alone place, reading and all, and how large the process gets.

    python bench/follow_speed.py [RECORDING ...] [--rounds N] [--longest EVENTS] [--markdown FILE]

Each RECORDING (default: those of 7.2.13 that the package carries) is split into words, read, made a trace and followed,
in turn, in one process, by its CPU time; ratios are to the splitting. Then host faults of one recording are repeated
behind it until there are up to EVENTS events; each length is followed in a process of its own, of which the largest
size is told.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from follow_recordings import version_of

import gmemsim
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import read_trace
from gmemsim.follow.trace import load_trace
from gmemsim.patches.registry import PATCHES

CARRIED = Path(gmemsim.__file__).parent / "scenarios" / "recorded"
#: A recording with a host thread.
HOSTS = CARRIED / "7.2.13" / "sh_mmap_h1_v2.trace.gz"
#: Events of the shortest trace of which the size is told; each further one has twice as many.
SHORTEST = 50_000


def patch_of(path: Path) -> str:
    """The version of the kernel that a recording's folder is named after."""
    return version_of(f"-{path.parent.name.removeprefix('linux-')}")


def split(path: Path) -> int:
    """Words of each line: what any reader in Python does at the least."""
    with gzip.open(path, "rt") as file:
        return sum(1 for line in file if line.split(" ") and not line.startswith("#"))


def read(path: Path) -> int:
    return sum(1 for _ in read_trace(path))


def load(path: Path) -> int:
    return load_trace(path).events


def whole(path: Path) -> int:
    """Read and follow.

    Raises:
        SystemExit: the rules alone do not place it.
    """
    result = follow(load_trace(path), PATCHES[patch_of(path)])
    if not result.accepted or result.states:
        raise SystemExit(
            f"{path}: {result.verdict}, {result.states} placements: no trace for this measurement"
        )
    return result.events


CASES = {"split into words": split, "read": read, "made a trace": load, "followed, reading and all": whole}


def measure(cases: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Least seconds of CPU an event of each case, in turn: the machine's other work does not count."""
    least = dict.fromkeys(cases, math.inf)
    for _ in range(rounds):
        for name, case in cases.items():
            began = time.process_time()
            events = case()
            least[name] = min(least[name], (time.process_time() - began) / events)
    return least


def rates(paths: list[Path], rounds: int) -> list[str]:
    """A row a recording: events a second of each case and the ratio to the splitting."""
    heads = [f"{name} | x" for name in list(CASES)[1:]]
    lines = [
        f"| recording | events | {next(iter(CASES))}/s | {' | '.join(heads)} |",
        f"|---|--:|--:|{'--:|--:|' * len(heads)}",
    ]
    for path in paths:
        found = measure({name: partial(case, path) for name, case in CASES.items()}, rounds)
        first, *others = found.values()
        cells = " | ".join(f"{1 / seconds:,.0f} | {seconds / first:.1f}" for seconds in others)
        lines.append(
            f"| {path.parent.name}/{path.name.removesuffix('.trace.gz')} | {load_trace(path).events:,} "
            f"| {1 / first:,.0f} | {cells} |"
        )
    return lines


def _hits(lines: list[str]) -> list[list[str]]:
    """Of each fault of the host thread what it would show if it found the page: the look-up that hits, and no more."""
    faults: list[list[str]] = []
    for line in lines:
        if " hostf0-" not in line or " sched_switch: " in line:
            continue
        if " user_fault: " in line:
            faults.append([])
        faults[-1].append(line)
    hits = []
    for fault in faults:
        events = {name: line for line in reversed(fault) if (name := line.split(": ")[1])}
        found = [line for line in fault if " fm_getm_ret: " in line][-1]
        names = ("user_fault", "get_folio", "fm_getm", "", "get_folio_ret", "user_fault_ret", "folio_unlock")
        hits.append([events[name] if name else found for name in names])
    return hits


def longer(events: int, folder: Path) -> Path:
    """`HOSTS` with its host faults, as hits, repeated behind it until it has that many events."""
    with gzip.open(HOSTS, "rt") as file:
        lines = file.readlines()
    block = [line for fault in _hits(lines) for line in fault]
    more = max(0, events - len(lines)) // len(block)
    path = folder / f"{HOSTS.parent.name}" / "long.trace.gz"
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(lines[:-1])
        for _ in range(more):
            file.writelines(block)
        file.writelines(lines[-1:])
    metadata = HOSTS.with_name(HOSTS.name.removesuffix(".trace.gz") + ".json")
    path.with_name("long.json").write_text(metadata.read_text())
    return path


def sizes(longest: int) -> list[str]:
    """A row a length: the largest size of a process that reads and follows it, and that of one that reads nothing."""
    lines = ["| events | largest size, MB | bytes an event |", "|--:|--:|--:|"]
    with tempfile.TemporaryDirectory() as folder:
        empty = int(_child("--size", "-"))
        events = SHORTEST
        while events <= longest:
            path = longer(events, Path(folder))
            size, found = json.loads(_child("--size", str(path)))
            lines.append(f"| {found:,} | {size / 1e6:,.0f} | {(size - empty) / found:,.0f} |")
            events *= 2
    return [*lines, "", f"A process that follows nothing: {empty / 1e6:,.0f} MB."]


def _child(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def size(path: str) -> None:
    """In a process of its own: print its largest size in bytes, and the events that it followed."""
    events = 0 if path == "-" else whole(Path(path))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([largest, events]) if events else largest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest", type=int, default=200_000)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    options = parser.parse_args()
    if options.size is not None:
        size(options.size)
        return
    paths = options.recordings or sorted(HOSTS.parent.glob("*.trace.gz"))
    text = "\n".join([*rates(paths, options.rounds), "", *sizes(options.longest), ""])
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
