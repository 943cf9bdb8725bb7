"""Follow every recording with the version that it belongs to, and across; alter some and count the rejections.

    python bench/follow_recordings.py DIRECTORY [--only own|across|altered|probes] [--markdown FILE]

DIRECTORY holds the recordings, one folder a kernel. Prints a table per kernel, what was rejected and why, the cross
table (a recording against other versions), the share of altered traces that was rejected, and the same where one event
of each probe is doubled or dropped. Of an altered trace no more than BUDGET placements are tried.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from gmemsim.follow.alter import ALTERATIONS, alter, alter_at, places
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import load_trace, trace_from_events
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from collections.abc import Callable

#: Which version a kernel is.
VERSION = {"6.12": "baseline", "6.18": "baseline", "7.2": "v3", "7.3": "mainline-7.3"}
ACROSS = ("baseline", "v3", "mainline-7.3")


#: For each altered trace: steps before the refused event, and placements of unobserved ones in them.
BUDGET = Bounds(states=200, seconds=None, window=32)


def version_of(directory: str) -> str:
    return next(patch for release, patch in VERSION.items() if f"-{release}." in directory)


def own(root: Path) -> list[str]:
    """Each kernel against its own version."""
    lines = [
        "| kernel | version | recordings | accepted | of these with a search | events | events/s |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    rejected = []
    total = accepted = 0
    for directory in sorted(path for path in root.iterdir() if path.is_dir()):
        patch = version_of(directory.name)
        events = count = good = searched = 0
        seconds = 0.0
        for path in sorted(directory.glob("*.trace.gz")):
            result = follow(load_trace(path), PATCHES[patch])
            count += 1
            good += result.accepted
            searched += result.states > 0
            events += result.events
            seconds += result.seconds
            at = result.rejected_at
            if at is not None:
                done = 100 * result.matched // max(1, result.events)
                name = f"{directory.name}/{path.name.removesuffix('.trace.gz')}"
                rejected.append(f"| {name} | {at.line} ({done} %) | {at.event} | {at.reason} |")
            print(directory.name, path.name, "accepted" if result.accepted else "REJECTED", file=sys.stderr)
        lines.append(
            f"| {directory.name} | {patch} | {count} | {good} | {searched} | {events:,} "
            f"| {events / max(seconds, 1e-9):,.0f} |"
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
                result = follow(trace, PATCHES[patch], bounds=BUDGET)
                at = result.rejected_at
                cells.append("accepted" if at is None else f"rejected at {at.event.split(':')[0]}")
            lines.append(f"| {directory}/{name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


class Tally:
    """Verdicts by row."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.verdicts: dict[str, Counter[str]] = {}

    def take(self, row: str, lines: list[str], path: Path, metadata: dict[str, object], told: str) -> None:
        """Follow an altered trace with the version of its kernel."""
        events = (event for number, line in enumerate(lines, 1) if (event := parse_line(line, number)))
        trace = trace_from_events(events, str(path), metadata)
        verdict = follow(trace, PATCHES[version_of(path.parent.name)], bounds=BUDGET).verdict
        self.verdicts.setdefault(row, Counter())[verdict] += 1
        if verdict != "rejected":
            print(f"{verdict} although altered: {path.parent.name} {path.name} {row} {told}", file=sys.stderr)

    def table(self) -> list[str]:
        lines = [f"| {self.what} | made | rejected | undecided | accepted |", "|---|--:|--:|--:|--:|"]
        every: Counter[str] = Counter()
        for row, found in self.verdicts.items():
            lines.append(
                f"| {row} | {found.total()} | {found['rejected']} | {found['undecided']} | {found['accepted']} |"
            )
            every += found
        share = 100 * every["rejected"] / max(1, every.total())
        return [*lines, "", f"{every['rejected']} of {every.total()} are rejected ({share:.1f} %).", ""]


def read(path: Path) -> tuple[list[str], dict[str, object]]:
    """Lines and metadata of a recording."""
    with gzip.open(path, "rt") as file:
        lines = file.readlines()
    return lines, json.loads(path.with_name(path.name.removesuffix(".trace.gz") + ".json").read_text())


def altered(root: Path, seeds: int) -> list[str]:
    """Altered traces per kind of alteration, and how many were rejected."""
    tally = Tally("alteration")
    for kind in ALTERATIONS:
        for directory in ("linux-6.18.15-debian", "linux-7.2.13-debian", "linux-7.3.4-debian"):
            for name in ("sh_same_v4", "sh_prefault_v4", "sh_punch1_v1", "sh_mmap_h1_v2"):
                path = root / directory / f"{name}.trace.gz"
                lines, metadata = read(path)
                for seed in range(seeds):
                    changed = alter(lines, kind, Random(f"{directory} {name} {seed}"))
                    if changed is not None:
                        tally.take(kind, changed, path, metadata, f"seed {seed}")
    return tally.table()


def probes(root: Path) -> list[str]:
    """One event of each probe doubled, and one dropped, at a random place of each recording of a few."""
    tally = Tally("one event of each probe")
    for recording in PROBED:
        path = root / f"{recording}.trace.gz"
        lines, metadata = read(path)
        for name, found in places(lines, metadata).items():
            for row in ("doubled", "dropped"):
                place = Random(f"{recording} {name} {row}").choice(found)
                tally.take(
                    row, alter_at(lines, place, row == "doubled"), path, metadata, f"{name} line {place + 1}"
                )
    return tally.table()


#: Recordings of each kernel and kind of work, small ones.
PROBED = (
    "linux-6.12.107-custom/pv_conv1_v1",
    "linux-6.18.15-debian/sh_same_v2",
    "linux-6.18.15-debian/sh_punch1_v1",
    "linux-7.2.13-custom/pv_conv1_v1",
    "linux-7.2.13-debian/sh_same_v2",
    "linux-7.2.13-debian/sh_punch1_v1",
    "linux-7.2.13-debian/sh_mmap_h1_v2",
    "linux-7.3.4-debian/sh_punch1_v1",
    "linux-7.3.4-debian/sh_mmap_h1_v2",
    "linux-7.3.4-debian/sh_prefault_v4",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="altered traces per recording and kind")
    parser.add_argument("--only", choices=("own", "across", "altered", "probes"), help="just this table")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    options = parser.parse_args()
    root = options.directory
    tables: dict[str, tuple[str, Callable[[], list[str]]]] = {
        "own": ("Each kernel against its own version", lambda: own(root)),
        "across": ("Across versions", lambda: across(root)),
        "altered": ("Altered traces", lambda: altered(root, options.seeds)),
        "probes": ("One event doubled or dropped", lambda: probes(root)),
    }
    parts: list[str] = []
    for name, (title, make) in tables.items():
        if options.only in (None, name):
            parts += [f"## {title}", "", *make()]
    text = "\n".join(parts)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
