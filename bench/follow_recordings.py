"""Follow every recording with the version that it belongs to, and across; alter some and count the rejections.

    python bench/follow_recordings.py DIRECTORY [--markdown FILE] [--state FILE [--max-seconds N]]

DIRECTORY holds the recordings, one folder a kernel. Prints a table per kernel, what was rejected and why, the cross
table (a recording against other versions), the share of altered traces that was rejected, and the same where one event
of each probe is doubled or dropped. Of an altered trace no more than BUDGET placements are tried; each that is accepted
is listed. With `--state` what
was found is kept after each trace, so that it can be made in pieces; ends with 3 where a piece was not the last.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import load_trace, trace_from_events
from gmemsim.patches.registry import PATCHES

# The alterations live with the tests, which are no installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.follow.alterations import ALTERATIONS, alter, alter_at, places

if TYPE_CHECKING:
    from collections.abc import Callable

#: Which version a kernel is.
VERSION = {"6.12": "baseline", "6.18": "baseline", "7.2": "v3", "7.3": "mainline-7.3"}
ACROSS = ("baseline", "v3", "mainline-7.3")


#: For each altered trace: steps before the refused event, and placements of unobserved ones in them.
BUDGET = Bounds(states=200, seconds=None, window=32)


def version_of(directory: str) -> str:
    return next(patch for release, patch in VERSION.items() if f"-{release}." in directory)


class Found:
    """What came of each trace, kept in a file."""

    def __init__(self, path: Path | None, seconds: float | None, *, only: bool = False) -> None:
        self._path = path
        self._only = only
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._found = json.loads(path.read_text()) if path is not None and path.exists() else {}

    def of(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """As kept, or made now."""
        if key not in self._found:
            if self._only:
                return {"verdict": ""}
            if self._ends is not None and time.monotonic() > self._ends:
                raise SystemExit(3)
            self._found[key] = make()
            if self._path is not None:
                fresh = self._path.with_name(f".{self._path.name}.new")
                fresh.write_text(json.dumps(self._found))
                fresh.replace(self._path)
        found: dict[str, Any] = self._found[key]
        return found


def follow_one(path: Path, patch: str, bounds: Bounds | None = None) -> dict[str, Any]:
    """A recording with a version."""
    result = follow(load_trace(path), PATCHES[patch], bounds=bounds, explain=False)
    at = result.rejected_at
    return {
        "verdict": result.verdict,
        "states": result.states,
        "events": result.events,
        "seconds": result.seconds,
        "matched": result.matched,
        "at": None if at is None else [at.line, at.event, at.reason],
    }


def own(root: Path, kept: Found) -> list[str]:
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
            name = f"{directory.name}/{path.name.removesuffix('.trace.gz')}"
            result = kept.of(f"own {name}", partial(follow_one, path, patch))
            count += 1
            good += result["verdict"] == "accepted"
            searched += result["states"] > 0
            events += result["events"]
            seconds += result["seconds"]
            if result["at"] is not None:
                line, event, reason = result["at"]
                done = 100 * result["matched"] // max(1, result["events"])
                rejected.append(f"| {name} | {result['verdict']} | {line} ({done} %) | {event} | {reason} |")
        lines.append(
            f"| {directory.name} | {patch} | {count} | {good} | {searched} | {events:,} "
            f"| {events / max(seconds, 1e-9):,.0f} |"
        )
        total += count
        accepted += good
    lines += ["", f"{accepted} of {total} recordings are accepted.", ""]
    if rejected:
        lines += [
            "| not accepted | verdict | line (share matched) | event | the model |",
            "|---|---|---|---|---|",
            *rejected,
            "",
        ]
    return lines


def across(root: Path, kept: Found) -> list[str]:
    """One recording of each kind against every version."""
    names = ("sh_same_v2", "sh_punch1_v1", "sh_mmap_h1_v2")
    lines = ["| recording | " + " | ".join(ACROSS) + " |", "|---|" + "---|" * len(ACROSS)]
    for directory in ("linux-6.18.15-debian", "linux-7.2.13-debian", "linux-7.3.4-debian"):
        for name in names:
            path = root / directory / f"{name}.trace.gz"
            cells = []
            for patch in ACROSS:
                key = f"across {directory}/{name} {patch}"
                result = kept.of(key, partial(follow_one, path, patch, BUDGET))
                at = result["at"]
                cells.append("accepted" if at is None else f"{result['verdict']} at {at[1].split(':')[0]}")
            lines.append(f"| {directory}/{name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


class Tally:
    """Verdicts by row."""

    def __init__(self, what: str, kept: Found) -> None:
        self.what = what
        self.kept = kept
        self.verdicts: dict[str, Counter[str]] = {}
        self.others: list[str] = []

    def take(
        self, row: str, make: Callable[[], list[str] | None], path: Path, metadata: Any, told: str
    ) -> None:
        """Follow an altered trace with the version of its kernel."""

        def verdict() -> dict[str, Any]:
            lines = make()
            if lines is None:
                return {"verdict": ""}
            events = (event for number, line in enumerate(lines, 1) if (event := parse_line(line, number)))
            trace = trace_from_events(events, str(path), metadata)
            patch = PATCHES[version_of(path.parent.name)]
            return {"verdict": follow(trace, patch, bounds=BUDGET, explain=False).verdict}

        where = f"{path.parent.name}/{path.name.removesuffix('.trace.gz')}"
        found = self.kept.of(f"{self.what}: {row} {where} {told}", verdict)["verdict"]
        if found:
            self.verdicts.setdefault(row, Counter())[found] += 1
        if found not in ("", "rejected"):
            self.others.append(f"| {found} | {row} | {where} | {told} |")

    def table(self) -> list[str]:
        lines = [f"| {self.what} | made | rejected | undecided | accepted |", "|---|--:|--:|--:|--:|"]
        every: Counter[str] = Counter()
        for row, found in self.verdicts.items():
            lines.append(
                f"| {row} | {found.total()} | {found['rejected']} | {found['undecided']} | {found['accepted']} |"
            )
            every += found
        share = 100 * every["rejected"] / max(1, every.total())
        lines += ["", f"{every['rejected']} of {every.total()} are rejected ({share:.1f} %).", ""]
        if self.others:
            lines += ["| not rejected | altered | recording | where |", "|---|---|---|---|", *self.others, ""]
        return lines


def read(path: Path) -> tuple[list[str], dict[str, object]]:
    """Lines and metadata of a recording."""
    with gzip.open(path, "rt") as file:
        lines = file.readlines()
    return lines, json.loads(path.with_name(path.name.removesuffix(".trace.gz") + ".json").read_text())


def altered(root: Path, seeds: int, kept: Found) -> list[str]:
    """Altered traces per kind of alteration, and how many were rejected."""
    tally = Tally("alteration", kept)
    for kind in ALTERATIONS:
        for directory in ("linux-6.18.15-debian", "linux-7.2.13-debian", "linux-7.3.4-debian"):
            for name in ("sh_same_v4", "sh_prefault_v4", "sh_punch1_v1", "sh_mmap_h1_v2"):
                path = root / directory / f"{name}.trace.gz"
                lines, metadata = read(path)
                for seed in range(seeds):
                    random = Random(f"{directory} {name} {seed}")
                    tally.take(kind, partial(alter, lines, kind, random), path, metadata, f"draw {seed}")
    return tally.table()


def probes(root: Path, kept: Found) -> list[str]:
    """One event of each probe doubled, and one dropped, at a random place of each recording of a few."""
    tally = Tally("one event of each probe", kept)
    for recording in PROBED:
        path = root / f"{recording}.trace.gz"
        lines, metadata = read(path)
        for name, found in places(lines, metadata).items():
            for row in ("doubled", "dropped"):
                place = Random(f"{recording} {name} {row}").choice(found)
                made = partial(alter_at, lines, place, row == "doubled")
                tally.take(row, made, path, metadata, f"{name} line {place + 1}")
    return tally.table()


#: Recordings of each kernel and kind of work, small ones.
PROBED = (
    "linux-6.12.107-custom/pv_conv1_v1",
    "linux-6.12.107-custom/pv_same_v1",
    "linux-6.12.107-custom/pv_prefault_v2",
    "linux-6.18.15-debian/sh_same_v2",
    "linux-6.18.15-debian/sh_prefault_v1",
    "linux-7.2.13-custom/pv_conv1_v1",
    "linux-7.2.13-custom/pv_same_v1",
    "linux-7.2.13-custom/pv_prefault_v1",
    "linux-7.2.13-custom/sh_prefault_v1",
    "linux-7.2.13-debian/sh_same_v1",
    "linux-7.2.13-debian/sh_prepop_v4",
    "linux-7.2.13-debian/sh_punch1_v1",
    "linux-7.3.4-debian/sh_same_v2",
    "linux-7.3.4-debian/sh_prefault_v1",
    "linux-7.3.4-debian/sh_mmap_h1_v2",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="altered traces per recording and kind")
    parser.add_argument("--state", type=Path, help="keep what was found there, and go on from it")
    parser.add_argument("--max-seconds", type=float, help="begin no further trace after that")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    parser.add_argument(
        "--kept", action="store_true", help="altered ones: what is kept in the state, no more"
    )
    options = parser.parse_args()
    root, kept = options.directory, Found(options.state, options.max_seconds)
    drawn = Found(options.state, None, only=True) if options.kept else kept
    parts = [
        "## Each kernel against its own version",
        "",
        *own(root, kept),
        "## Across versions",
        "",
        *across(root, kept),
        "## Altered traces",
        "",
        *altered(root, options.seeds, drawn),
        "## One event of each probe doubled or dropped",
        "",
        *probes(root, drawn),
    ]
    text = "\n".join(parts)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
