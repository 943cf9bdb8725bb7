"""Write docs/pairs.md and docs/triples.md from the records that bench/matrix.py wrote, and compress the records.

python bench/matrix.py 2; python bench/matrix.py 2 --pages 2; python bench/matrix.py 3
python bench/matrix.py 4 --cells 60; python docs/generate_matrix.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import zstandard

from gmemsim.arch.registry import ARCHES
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.studies.matrix import TWO_PAGES, cells
from gmemsim.studies.operations import HUGE_OPERATIONS, OPERATIONS, SETUPS, TWO_PAGE_OPERATIONS

HERE = Path(__file__).parent
NAMES = list(dict.fromkeys(one.name for one in (*OPERATIONS, *TWO_PAGE_OPERATIONS, *HUGE_OPERATIONS)))
#: How a finding is shown in a cell.
LETTERS = {
    "memory-failure-against-punch": "D",
    "memory-failure-allocation-writer": "D",
    "memory-failure-fault-conversion": "D",
    "memory-failure-against-populate": "D",
    "host-fault-on-poisoned-page": "E",
    "hugepage-split-waits-for-look-up": "F",
    "hugepage-split-waits-for-memory-failure": "F",
    "snp-launch-update-after-finish": "L",
    "hugepage-hole-zeroes-private-pages": "P",
    "snp-rmp-fault-against-reclaim": "R",
    "private-page-mapped-shared-at-slot-deletion": "S",
    "tdx-removal-failure": "T",
    "unbind-during-memory-failure": "U",
}

HOW = """Every state of a cell is looked at, up to a budget: {complete:,} of {searches:,} searches are complete without
any bound, after {states:,} states and {seconds:,} s of processor time. {rest}The oracles, the engine and a sequential
order judge; what an operation returns is left open."""

#: Said where such cells are missing: without a vCPU, whose ioctl it is on TDX, nothing is populated.
GONE = "Cells with `populate` that are not here were not searched since their VM has a vCPU."
#: Of pairs.
AGES = """Rows are of several days, and states are told apart otherwise by now: a cell that is searched again can have
other numbers of them, mostly some percent fewer, and half of them where both tasks do the same. Of all 7,817 complete
searches of pairs, those on two pages and on a huge page included, the 6,225 that had up to 1,142 states, or populate,
were asked again together and stand here: 1,567 had another number, and none another verdict. The others are of earlier
days (`python bench/matrix.py 2 --again 90 --states 40000` asks some)."""
#: Of triples.
TRIPLE_AGES = """Rows are of several days here, too: of 60 drawn at random, of those that were complete within 4,000
states, 2 have another number of states now, and none another verdict
(`python bench/matrix.py 3 --again 60 --states 4000`)."""

REST = """Where there were more, schedules are enumerated with few preemptions
first, at most {enumerated:,} of them and two preemptions at most; where that was not all, up to {sampled:,}
more are drawn with POS. Runs that met the step limit and end under fair turns ({unfair:,} of them) are no violations.
"""

PAIRS = """# Every pair of operations

Two tasks with one operation each, on one page of one file, for every pair of operations that the VM type and version
have; an operation also meets itself. Each pair is searched from up to three states of the page: *untouched*; *used*,
where the guest has touched it (as private memory, where there is such); *shared*, where guest and host have touched it
and it is shared (VM types and versions in which such a page is in the file).
{how}
`python bench/matrix.py 2` runs it again, from where it was stopped.
{ages}
{gone}

{searches:,} of {planned:,} searches, {total:,} schedules. A cell stands for all states that its pair was searched from:

| | |
|---|---|
| 1,234 | complete, without any bound: so many states, from all states of the page together |
| `=` | every schedule with at most two preemptions and at most 16 equal steps in a row was run |
| `1`, `2` | every schedule with fewer preemptions than that was run, and others sampled |
| `0` | the cap came, from some state, before all schedules without a preemption were run; others sampled |
{letters}
| **?** | a violation that is none of these by rule, operations, locks and modes; listed below with its token |
| blank | the VM type or version does not have one of the two, or they cannot meet |

A cell without a letter had no violation in what was run.

What this matrix does not see: a third task (see [triples](triples.md); [a dying file that is unbound during a memory
failure](findings/unbind-during-memory-failure.md) takes one); and where a cell is not complete, most
schedules with two preemptions or more. [Two pages](#two-pages) and [a huge page](#a-huge-page) have sections of their
own. The versions run on their default releases: the live-lock of pre-fault against the deletion of a slot, repaired in
6.18, shows on baseline with `--release 6.12` and not here. A version that has no table below was not recorded since its
model changed.
"""

TWO = """## Two pages

The same on a file of two pages: `touch` and `host write` are of the first page, `touch neighbour` is of the second,
`punch`, `allocate`, `to private` and `populate` of both, `punch page`, `page to shared` and `memory failure` of the
first. {how} `python bench/matrix.py 2 --pages 2` runs it again, from where it was stopped: {searches:,} of {planned:,}
searches are here.
"""

HUGE = """## A huge page

The file is one huge page of 2 MiB of which the first two pages are used; `split` and `merge` are the conversions that
do it. {how} `python bench/matrix.py 2 --patch hugepage hugepage-mutex` runs it again; {searches:,} of {planned:,}
searches are here.
"""

QUADRUPLES = """
## Four operations at once

A random sample: {searches:,} cells of {planned:,} of v3 and inplace, on one page. {how}
`python bench/matrix.py 4 --cells N` draws more.
{older}"""

TRIPLES = """# Three operations at once

Three tasks with one operation each, on one page of one file, or (`hugepage`) on one huge page of 2 MiB of which the
first two pages are used. A version that is not in the table was not recorded since its model changed. Of each search
that is not complete the states are counted to which it came: its budget was {least:,} at least, and {most:,} at most;
it can be searched again with a larger one. In {exchanged:,} cells two of the three operations are the same, and states
that differ only in which of the two tasks is where were looked at once ([exploring](explore.md)). A cell is three
operations and the state that the page begins in, as in [pairs](pairs.md): untouched; used by the guest as private
memory; shared and used by both. The operations are vCPU fault, host fault, allocation, truncation, conversion both
ways (on a huge page: split and merge), memory failure, making and deleting a slot, release, and populate with the end
of the launch, as
far as VM type and file have them. {gone}
{how}
`python bench/matrix.py 3` goes on where this record ends. The tables at the end have the cells one by one, signs as in
[pairs](pairs.md).

Recorded: {searches:,} of {planned:,} cells, {total:,} runs. Of the cells that are not complete {bounded:,} were run
completely within the bound of two preemptions, {below:,} below one preemption; in the others the cap came first, and no
violation there means none in those few schedules. A second page is not seen.
{ages}
{older}
| version | VM type | cells recorded | of | complete | clean | known only | with others |
|---|---|--:|--:|--:|--:|--:|--:|
"""


def load(name: str) -> list[dict[str, Any]]:
    """The rows of a record, in the order of the tables; a new one is compressed first, the last row of each cell."""
    packed, new = HERE / f"{name}.zst", HERE / name
    if new.exists():
        last = {
            which(json.loads(line)): line
            for line in new.read_text(encoding="utf-8").splitlines(keepends=True)
        }
        packed.write_bytes(zstandard.ZstdCompressor(level=19).compress("".join(last.values()).encode()))
        new.unlink()
    text = zstandard.ZstdDecompressor().decompress(packed.read_bytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    patches = [
        "baseline", "v1", "v2", "v3", "mainline-7.3", "inplace-v8", "inplace", "hugepage", "hugepage-mutex",
    ]  # fmt: skip
    archs = list(ARCHES)

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        names = [NAMES.index(one) for one in row["names"]]
        return patches.index(row["patch"]), archs.index(row["arch"]), names, SETUPS.index(row["setup"])

    return sorted(rows, key=place)


def which(row: dict[str, Any]) -> tuple[Any, ...]:
    """The cell of a row."""
    return (*row["names"], row["patch"], row["arch"], row["setup"], row["huge"], row.get("pages", 1))


def budget(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of both pages."""
    whole = [row for row in rows if by_states(row)]
    rest = REST.format(
        enumerated=max((row["schedules"] - row["sampled"] for row in rows if not by_states(row)), default=0),
        sampled=max(row["sampled"] for row in rows),
        unfair=sum(row["unfair"] for row in rows),
    )
    how = HOW.format(
        rest=rest if len(whole) < len(rows) else "",
        seconds=round(sum(row.get("cpu_seconds", 0) for row in whole)),
        complete=len(whole),
        searches=len(rows),
        states=sum(row["states"] for row in whole),
    )
    return {"how": how, "searches": len(rows), "total": sum(row["schedules"] for row in rows)}


def by_states(row: dict[str, Any]) -> bool:
    """Whether every state was looked at."""
    return bool(row.get("states")) and row["scope"].startswith("complete:")


def sign(row: dict[str, Any]) -> tuple[int, str]:
    """How bad one search is, and its sign."""
    letters = sorted({LETTERS.get(found["known"], "?") for found in row["violations"]})
    if letters:
        return 9, " ".join(f"**{letter}**" for letter in letters)
    if row["scope"].startswith("complete:") or row["scope"] == "complete":
        return 0, "="
    below = row["scope"].removeprefix("complete below ").split()[0]
    return (3 - int(below), below) if below.isdigit() else (3, "0")


def mark(rows: list[dict[str, Any]]) -> str:
    """The sign of a pair: all that was found, or the least that was covered."""
    signs = sorted(sign(row) for row in rows)
    found = sorted({letter for weight, text in signs if weight == 9 for letter in text.split()})
    if all(by_states(row) for row in rows):
        # Complete: how many states, and what was found among them.
        return " ".join((f"{sum(row['states'] for row in rows):,}", *found))
    return " ".join(found) if found else signs[-1][1]


def violations(rows: list[dict[str, Any]]) -> list[str]:
    """What was found, and where."""
    seen: dict[str, list[str]] = {}
    for row in rows:
        for found in row["violations"]:
            page = found["known"]
            told = (
                f"[{page}](findings/{page}.md)" if page else f"**?** {found['summary']}; `{found['replay']}`"
            )
            where = f"{' against '.join(row['names'])} ({row['setup']}; {row['patch']}, {row['arch']})"
            seen.setdefault(f"`{found['rule']}` ({found['kind']}): {told}", []).append(where)
    return [
        f"* {text}: {len(where)} {'cell' if len(where) == 1 else 'cells'}, the first: {where[0]}"
        for text, where in sorted(seen.items())
    ] or ["None."]


def letters(rows: list[dict[str, Any]]) -> str:
    """What the letters in the cells stand for."""
    met = {found["known"] for row in rows for found in row["violations"]}
    lines = [
        f"| **{letter}** | {FINDINGS[ident].title}: [finding](findings/{ident}.md) |"
        for ident, letter in LETTERS.items()
        if ident in met
    ]
    return "\n".join(lines)


def pairs() -> str:
    rows = load("pairs.jsonl")
    one, two, huge = (
        [row for row in rows if (row["huge"], row.get("pages", 1)) == kind]
        for kind in ((False, 1), (False, 2), (True, 1))
    )
    planned = sum(count(patch, 2) for patch in dict.fromkeys(row["patch"] for row in one))
    gone = GONE if len(one) + len(two) < planned + sum(count(patch, 2, 2) for patch in TWO_PAGES) else ""
    head = PAIRS.format(letters=letters(rows), planned=planned, ages=AGES, gone=gone, **budget(one))
    lines = [head, *tables(one, "##")]
    for head, part, pages in ((TWO, two, 2), (HUGE, huge, 1)):
        if part:
            planned = sum(count(patch, 2, pages) for patch in dict.fromkeys(row["patch"] for row in part))
            lines += [head.format(planned=planned, **budget(part)), *tables(part, "###")]
    return "\n".join([*lines, "## Violations", "", *violations(rows)]) + "\n"


def count(patch: str, together: int, pages: int = 1) -> int:
    """How many cells a version has."""
    return sum(together == 2 or cell.arch != "default" for cell in cells(patch, together, pages=pages))


def tables(rows: list[dict[str, Any]], level: str) -> list[str]:
    """A table for each version and VM type."""
    lines: list[str] = []
    for patch in dict.fromkeys(row["patch"] for row in rows):
        for arch in dict.fromkeys(row["arch"] for row in rows if row["patch"] == patch):
            searches: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for row in rows:
                if (row["patch"], row["arch"]) == (patch, arch):
                    searches.setdefault(tuple(row["names"]), []).append(row)
            here = {pair: mark(found) for pair, found in searches.items()}
            used = [name for name in NAMES if any(name in pair for pair in here)]
            kinds = Counter(
                " ".join(("complete", *mark(found).split()[1:]))
                if all(map(by_states, found))
                else mark(found)
                for found in searches.values()
            )
            counts = ", ".join(f"{count} x {sign}" for sign, count in sorted(kinds.items()))
            lines += [f"{level} {patch}, {arch}", "", f"{counts}.", "", "| | " + " | ".join(used) + " |"]
            lines.append("|---|" + ":-:|" * len(used))
            for number, first in enumerate(used):
                marks = [
                    ""
                    if column < number
                    else here.get((first, used[column]), here.get((used[column], first), ""))
                    for column in range(len(used))
                ]
                lines.append(f"| {first} | " + " | ".join(marks) + " |")
            lines.append("")
    return lines


def triples() -> str:
    rows = load("triples.jsonl")
    table: list[str] = []
    cell_by_cell: list[str] = []
    planned = 0
    for patch in dict.fromkeys(row["patch"] for row in rows):
        every = Counter(cell.arch for cell in cells(patch, 3))
        for arch in ("snp", "tdx", "sw-protected"):
            here = [row for row in rows if (row["patch"], row["arch"]) == (patch, arch)]
            planned += every[arch]
            clean = sum(not row["violations"] for row in here)
            others = sum(any(not found["known"] for found in row["violations"]) for row in here)
            rest = len(here) - clean - others
            whole = sum(map(by_states, here))
            table.append(
                f"| {patch} | {arch} | {len(here)} | {every[arch]} | {whole} | {clean} | {rest} | {others} |"
            )
            cell_by_cell += one_by_one(patch, arch, here)
    head = TRIPLES.format(
        planned=planned,
        gone=GONE if len(rows) < planned else "",
        bounded=sum(
            not by_states(row) and (row["scope"].startswith("complete:") or row["scope"] == "complete")
            for row in rows
        ),
        below=sum(row["scope"].startswith("complete below 1") for row in rows),
        exchanged=sum(bool(row.get("exchanged")) for row in rows),
        ages=TRIPLE_AGES,
        older=older(rows),
        least=min((row["states"] for row in rows if not by_states(row)), default=0),
        most=max((row["states"] for row in rows if not by_states(row)), default=0),
        **budget(rows),
    )
    four = load("quadruples.jsonl") if recorded("quadruples.jsonl") else []
    parts = [head + "\n".join(table), "", "## Violations", "", *violations([*rows, *four])]
    if four:
        planned = sum(count(patch, 4) for patch in ("v3", "inplace"))
        parts.append(QUADRUPLES.format(planned=planned, older=older(four), **budget(four)))
    return "\n".join([*parts, *cell_by_cell]) + "\n"


def older(rows: list[dict[str, Any]]) -> str:
    """What is said of rows that are of the model before a change which they could meet (`before`: the change)."""
    changes = Counter(row["before"] for row in rows if row.get("before"))
    return "".join(
        f"\n{cells:,} of the recorded cells are of the model before {change}, and were not asked again since.\n"
        for change, cells in changes.items()
    )


def recorded(name: str) -> bool:
    """Whether there is such a record."""
    return any((HERE / one).exists() for one in (name, f"{name}.zst"))


def one_by_one(patch: str, arch: str, rows: list[dict[str, Any]]) -> list[str]:
    """The cells of a version and VM type, if they were searched by states: signs as in the pairs."""
    if not any(row.get("states") for row in rows):
        return []
    cells_of: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        cells_of.setdefault(tuple(row["names"]), {})[row["setup"]] = mark([row])
    lines = ["", f"## {patch}, {arch}", "", f"| operations | {' | '.join(SETUPS)} |", "|---|--:|--:|--:|"]
    lines += [
        f"| {', '.join(names)} | {' | '.join(here.get(setup, '') for setup in SETUPS)} |"
        for names, here in cells_of.items()
    ]
    return lines


if __name__ == "__main__":
    for name, text in (("pairs.md", pairs), ("triples.md", triples)):
        (HERE / name).write_text(text(), encoding="utf-8")
