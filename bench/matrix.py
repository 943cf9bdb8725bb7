"""Every pair (docs/pairs.jsonl.zst), triple or quadruple of operations; goes on where it was stopped.

    python bench/matrix.py 2|3|4 [--pages 1|2] [--patch P ...] [--states N] [--schedules N] [--sampled N] [--jobs N]
        [--seconds S] [--cells N] [--seed S] [--out FILE] [--again N]
    python docs/generate_matrix.py

A cell is searched completely: every state, up to --states of them. Where there are more, schedules with few preemptions
are enumerated, up to --schedules of them, and where that was not all of them with at most two preemptions, --sampled
more are drawn with POS. --cells takes so many at random, and prints at the end what all would take. --pages 2 takes the
cells on a file of two pages; versions with huge pages have the cells on a huge page. Rows are written to
the file without .zst, which goes on from the compressed one, and which docs/generate_matrix.py compresses. Delete both
to begin anew, as after a change of the model. --again asks N complete cells of the record anew, drawn at random from
those of at most --states states, writes nothing, and says how many have other states or another verdict by now.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import zstandard

from gmemsim.jobs.share import place, share
from gmemsim.studies.matrix import NAMES, TWO_PAGES, VERSIONS, cells, explore_cell
from gmemsim.studies.operations import Cell

DOCS = Path(__file__).parents[1] / "docs"


def which(row: dict[str, Any]) -> tuple[Any, ...]:
    """The cell of a row, or the question that it answers."""
    if "key" in row:
        return tuple(row["key"])
    return (*row["names"], row["patch"], row["arch"], row["setup"], row["huge"], row.get("pages", 1))


def recorded(path: Path) -> list[dict[str, Any]]:
    """Rows that are there, the last of each cell or question; one that was cut off is none."""
    packed = path.with_name(f"{path.name}.zst")
    if path.exists():
        text = path.read_text(encoding="utf-8")
    elif packed.exists():
        text = zstandard.ZstdDecompressor().decompress(packed.read_bytes()).decode()
    else:
        return []
    rows = (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return list({which(row): row for row in rows}.values())


def whole(row: dict[str, Any]) -> bool:
    """Whether every state of the cell was looked at."""
    return bool(row["scope"].startswith("complete:") and row["states"] > 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("together", type=int, choices=sorted(NAMES))
    parser.add_argument("--pages", type=int, choices=(1, 2), default=1)
    parser.add_argument("--patch", nargs="*")
    parser.add_argument("--states", type=int, default=100_000)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schedules", type=int, default=60)
    parser.add_argument("--sampled", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--again", type=int)
    options = parser.parse_args()
    path = options.out or DOCS / f"{NAMES[options.together]}.jsonl"
    patches = options.patch or list(TWO_PAGES if options.pages == 2 else VERSIONS[options.together])
    begin = time.monotonic()
    rows = recorded(path)
    if options.again is not None:
        again(rows, patches, options)
        return
    # What a smaller budget did not complete is asked again, and stays until it has another answer.
    done = {which(row) for row in rows if whole(row) or row["states"] >= options.states}
    todo = [
        cell
        for patch in patches
        for cell in cells(patch, options.together, pages=options.pages)
        if (options.together == 2 or cell.arch != "default")
        and (*cell.names, cell.patch, cell.arch, cell.setup, cell.huge, cell.pages) not in done
    ]
    # If it is stopped, what is there is a sample of all.
    random.Random(options.seed).shuffle(todo)
    print(f"{len(done)} cells are there, {len(todo)} to do", flush=True)

    def in_time() -> Iterator[Cell]:
        for cell in todo[: options.cells]:
            if options.seconds is None or time.monotonic() - begin <= options.seconds:
                yield cell

    run = partial(explore_cell, states=options.states, schedules=options.schedules, sampled=options.sampled)
    new: list[dict[str, Any]] = []
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with path.open("a", encoding="utf-8") as out, place(options.jobs, None) as where:
        for row in share(run, in_time(), where):
            out.write(json.dumps(row) + "\n")
            out.flush()
            new.append(row)
            for found in row["violations"]:
                if not found["known"]:
                    at = f"{' against '.join(row['names'])}, {row['patch']}, {row['arch']}, {row['setup']}"
                    print(f"{at}: {found['rule']}: {found['summary']}", flush=True)
    summary(new, len(todo))


def verdict(row: dict[str, Any]) -> set[tuple[str, str | None]]:
    """What was found: rules, and the finding that each is, if any."""
    return {(found["rule"], found["known"]) for found in row["violations"]}


def again(rows: list[dict[str, Any]], patches: list[str], options: argparse.Namespace) -> None:
    """Ask some complete cells once more, and compare."""
    then = {which(row): row for row in rows if whole(row) and row["states"] <= options.states}
    there = [
        cell
        for patch in patches
        for cell in cells(patch, options.together, pages=options.pages)
        if (*cell.names, cell.patch, cell.arch, cell.setup, cell.huge, cell.pages) in then
    ]
    drawn = random.Random(options.seed).sample(there, min(options.again, len(there)))
    run = partial(
        explore_cell, states=10 * options.states, schedules=options.schedules, sampled=options.sampled
    )
    states = verdicts = 0
    with place(options.jobs, None) as where:
        for row in share(run, iter(drawn), where):
            before = then[which(row)]
            states += row["states"] != before["states"]
            if verdict(row) != verdict(before):
                verdicts += 1
                print(
                    f"{which(row)}: {sorted(verdict(before), key=str)} then, {sorted(verdict(row), key=str)} now"
                )
    print(
        f"{len(drawn)} of {len(there)} cells: {states} with another number of states, {verdicts} with another verdict"
    )


def summary(rows: list[dict[str, Any]], left: int) -> None:
    """What was done now, and what all that was left would take at this rate."""
    if not rows:
        return
    complete = sum(map(whole, rows))
    states = sum(row["states"] for row in rows)
    cpu = sum(row["cpu_seconds"] for row in rows)
    most = max(rows, key=lambda row: row["cpu_seconds"])
    print(
        f"{len(rows)} cells, {complete} of them complete without a bound; {states:,} states, {cpu:.0f} s of CPU time, "
        f"{cpu / len(rows):.2f} s a cell; all {left} that were left: {cpu / len(rows) * left / 3600:.1f} hours\n"
        f"longest: {' against '.join(most['names'])}, {most['patch']}, {most['arch']}, {most['setup']}: "
        f"{most['states']:,} states, {most['cpu_seconds']} s"
    )


if __name__ == "__main__":
    main()
