"""Record the library's scenarios on stock kernels and follow each recording with the version of its kernel.

    python bench/follow_lab.py FOLDER --kernel K [--kernel K] [--rounds N] [SCENARIO ...] [--no-more] [--markdown FILE]

Every scenario that a stock kernel can do runs N times at its small size, each in a boot of its own; FOLDER/K gets the
recordings (what is there already is not made again). The table has, for each scenario and kernel, how many there are
and how many of them are accepted by the plain command; what is not is listed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from follow_recordings import version_of

from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import TraceError
from gmemsim.follow.result import FollowResult
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import load_trace
from gmemsim.lab.errors import LabError
from gmemsim.lab.kernels import find_kernel
from gmemsim.lab.machine import Machine
from gmemsim.lab.probes import probe_text
from gmemsim.lab.recording import write_recordings
from gmemsim.lab.refusals import VM_TYPES, vm_type_of
from gmemsim.lab.runs import run_programs
from gmemsim.lab.translate import Program, Steering, translate
from gmemsim.patches.registry import PATCHES
from gmemsim.scenarios.catalogue import find, names

#: Seconds and placements for a recording.
BOUNDS = Bounds(states=400, seconds=20.0)
#: A program of a vCPU that never leaves its loop makes a recording of every fault: it is none of these.
MOST_EVENTS = 60_000


def programs(wanted: list[str]) -> list[Program]:
    """Those that a stock kernel can do as a default VM."""
    found = []
    for name in wanted:
        scenario = find(name)
        if vm_type_of(scenario) != "default" and "default" not in (scenario.head.vm_types or VM_TYPES):
            continue
        try:
            found.append(translate(scenario.resolve(small=True), "default"))
        except LabError:
            continue
    return found


def record(kernel: str, folder: Path, wanted: list[str], rounds: int) -> None:
    """Make the recordings that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [program for program in programs(wanted) if not (folder / f"{program.name}-0.trace.gz").exists()]
    steering = Steering(rounds=rounds, spread_ns=60_000, trace=True, each=True)
    for program in todo:
        runs = run_programs(
            find_kernel(kernel), [program], steering, machine=Machine(), probes=probe_text(), say=print
        )
        write_recordings(folder, runs, "default")


def verdict(path: Path) -> tuple[str, FollowResult | None]:
    """What a recording is, if it says anything of the file."""
    try:
        trace = load_trace(path)
    except TraceError:
        return "nothing of the file", None
    if trace.events > MOST_EVENTS:
        return "too long", None
    patch = PATCHES[version_of(f"-{path.parent.name}.")]
    result = follow(trace, patch, bounds=BOUNDS)
    if result.undecided.startswith("nothing"):
        return "nothing of the file", None
    return result.verdict, result


def table(root: Path, kernels: list[str]) -> list[str]:
    """A row a scenario; what is not accepted."""
    cells: dict[str, dict[str, list[str]]] = {}
    others = []
    searched = 0
    for kernel in kernels:
        for path in sorted((root / kernel).glob("*.trace.gz")):
            said, result = verdict(path)
            name = path.name.removesuffix(".trace.gz").rpartition("-")[0]
            cells.setdefault(name, {}).setdefault(kernel, []).append(said)
            searched += result is not None and result.accepted and result.states > 0
            at = None if result is None else result.rejected_at
            if at is not None:
                others.append(f"| {kernel} | {path.name} | {said} | {at.line} | {at.event} | {at.reason} |")
    lines = [f"| scenario | {' | '.join(kernels)} |", "|---|" + "--:|" * len(kernels)]
    for name, found in sorted(cells.items()):
        lines.append(f"| {name} | " + " | ".join(_cell(found.get(kernel, [])) for kernel in kernels) + " |")
    every = [said for found in cells.values() for verdicts in found.values() for said in verdicts]
    told = [said for said in every if said in ("accepted", "rejected", "undecided")]
    lines += [
        "",
        f"{told.count('accepted')} of {len(told)} recordings that say something of the file are accepted, {searched} "
        f"of them with a search; {every.count('nothing of the file')} say nothing of it, {every.count('too long')} "
        f"have more than {MOST_EVENTS:,} events and were not followed.",
        "",
    ]
    if others:
        heads = ("kernel", "recording", "verdict", "line", "event", "the model")
        lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *others, ""]
    return lines


def _cell(found: list[str]) -> str:
    told = [said for said in found if said in ("accepted", "rejected", "undecided")]
    return f"{told.count('accepted')} of {len(told)}" if told else "-"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--kernel", action="append", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-more", action="store_true", help="the table of what is there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    options = parser.parse_intermixed_args()
    for kernel in () if options.no_more else options.kernel:
        record(kernel, options.folder / kernel, options.scenarios or list(names()), options.rounds)
    text = "\n".join(table(options.folder, options.kernel))
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
