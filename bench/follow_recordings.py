"""Follow every recording with the version that it belongs to, and across; alter some and count the rejections.

    python bench/follow_recordings.py DIRECTORY [--markdown FILE]

DIRECTORY holds the recordings, one folder a kernel. Prints a table per kernel, what was rejected and why, the cross
table (a recording against other versions) and the share of altered traces that was rejected.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from random import Random

from gmemsim.follow.alter import ALTERATIONS, alter
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line
from gmemsim.follow.trace import Trace, load_trace, trace_from_events
from gmemsim.patches.registry import PATCHES

#: Which version a kernel is.
VERSION = {"6.12": "baseline", "6.18": "baseline", "7.2": "v3", "7.3": "mainline-7.3"}
ACROSS = ("baseline", "v3", "mainline-7.3")


def version_of(directory: str) -> str:
    return next(patch for release, patch in VERSION.items() if f"-{release}." in directory)


def load(path: Path) -> Trace:
    """A recording; conversions that 6.12 could not probe come from 7.2's recording of the same program."""
    trace = load_trace(path)
    twin = Path(str(path).replace("6.12.107", "7.2.13"))
    if "6.12" in str(path) and "conv" in path.name and twin.exists():
        trace.take_conversions(load_trace(twin))
    return trace


def own(root: Path) -> list[str]:
    """Each kernel against its own version."""
    lines = ["| kernel | version | recordings | accepted | events | events/s |", "|---|---|--:|--:|--:|--:|"]
    rejected = []
    total = accepted = 0
    for directory in sorted(path for path in root.iterdir() if path.is_dir()):
        patch = version_of(directory.name)
        events = count = good = 0
        seconds = 0.0
        for path in sorted(directory.glob("*.trace.gz")):
            result = follow(load(path), PATCHES[patch])
            count += 1
            good += result.accepted
            events += result.events
            seconds += result.seconds
            at = result.rejected_at
            if at is not None:
                done = 100 * result.matched // max(1, result.events)
                name = f"{directory.name}/{path.name.removesuffix('.trace.gz')}"
                rejected.append(f"| {name} | {at.line} ({done} %) | {at.event} | {at.reason} |")
            print(directory.name, path.name, "accepted" if result.accepted else "REJECTED", file=sys.stderr)
        lines.append(
            f"| {directory.name} | {patch} | {count} | {good} | {events:,} | {events / max(seconds, 1e-9):,.0f} |"
        )
        total += count
        accepted += good
    lines += ["", f"{accepted} of {total} recordings are accepted.", ""]
    if rejected:
        lines += [
            "| rejected | line (share matched) | event | the model |",
            "|---|---|---|---|",
            *rejected,
            "",
        ]
    return lines


def across(root: Path) -> list[str]:
    """One recording of each kind against every version."""
    names = ("sh_same_v2", "sh_punch1_v1", "sh_mmap_h1_v2")
    lines = ["| recording | " + " | ".join(ACROSS) + " |", "|---|" + "---|" * len(ACROSS)]
    for directory in ("linux-6.18.15-debian", "linux-7.2.13-debian", "linux-7.3.4-debian"):
        for name in names:
            trace = load_trace(root / directory / f"{name}.trace.gz")
            cells = []
            for patch in ACROSS:
                result = follow(trace, PATCHES[patch])
                at = result.rejected_at
                cells.append("accepted" if at is None else f"rejected at {at.event.split(':')[0]}")
            lines.append(f"| {directory}/{name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def altered(root: Path, seeds: int) -> list[str]:
    """Altered traces per kind of alteration, and how many were rejected."""
    made: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for directory in ("linux-6.18.15-debian", "linux-7.2.13-debian", "linux-7.3.4-debian"):
        for name in ("sh_same_v4", "sh_prefault_v4", "sh_punch1_v1", "sh_mmap_h1_v2"):
            path = root / directory / f"{name}.trace.gz"
            with gzip.open(path, "rt") as file:
                text = file.readlines()
            metadata = json.loads((root / directory / f"{name}.json").read_text())
            for kind in ALTERATIONS:
                for seed in range(seeds):
                    changed = alter(text, kind, Random(f"{directory} {name} {seed}"))
                    if changed is None:
                        continue
                    events = (
                        event for number, line in enumerate(changed, 1) if (event := parse_line(line, number))
                    )
                    result = follow(
                        trace_from_events(events, str(path), metadata), PATCHES[version_of(directory)]
                    )
                    made[kind] += 1
                    rejected[kind] += result.verdict == "rejected"
                    if result.verdict != "rejected":
                        print(
                            f"{result.verdict} although altered:",
                            directory,
                            name,
                            kind,
                            seed,
                            file=sys.stderr,
                        )
    lines = ["| alteration | made | rejected |", "|---|--:|--:|"]
    lines += [f"| {kind} | {made[kind]} | {rejected[kind]} |" for kind in ALTERATIONS if made[kind]]
    share = 100 * sum(rejected.values()) / max(1, sum(made.values()))
    return [
        *lines,
        "",
        f"{sum(rejected.values())} of {sum(made.values())} altered traces are rejected ({share:.1f} %).",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="altered traces per recording and kind")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    options = parser.parse_args()
    parts = [
        "## Each kernel against its own version",
        "",
        *own(options.directory),
        "## Across versions",
        "",
        *across(options.directory),
        "## Altered traces",
        "",
        *altered(options.directory, options.seeds),
    ]
    text = "\n".join(parts)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
