"""Write docs/zoo.md from docs/zoo.json, which is what `gmemsim zoo --schedules 1000 --json` printed.

    gmemsim zoo --schedules 1000 --json > docs/zoo.json
    python docs/generate_zoo.py

The run takes long, so it is recorded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gmemsim.arch.registry import described

HERE = Path(__file__).parent

ORIGINS = {
    "shipped-bug": "Shipped: in a released or mainline kernel, or in another system's lock",
    "review-found": "Found in review or testing of a posted series",
    "guard-mutant": "Guard mutants: a documented guard taken away; no historical bug",
    "source-derived": "Deduced from the sources; no public report was found",
    "documented-benign": "Called harmless by its authors: must give nothing",
}

HEAD = """# The zoo

Real bugs of guest_memfd, its arch hooks, MMU retry, and the rw-semaphore, seeded into the versions that exist: each is
a small class in `src/gmemsim/patches/zoo` that does what the bug did, and is hunted in a scenario that a user would
write for that part, not one made for the bug (`src/gmemsim/scenarios/zoo` and the library). Bugs of the lock itself are
hunted in a program of readers and writers, some of them interrupted (`studies/lock_lab.py`). `gmemsim zoo` runs all,
`gmemsim zoo ID` one entry, `gmemsim explore zoo-launch --patch v3+populate-without-il` a seeded version like any other.
`gmemsim zoo --patch mine.py:Mine` seeds them into a patch of your own instead: is each still found there, and is the
patch clean in the scenarios that they are looked for in? A bug that changes what nothing calls in the patch is not
asked; where a bug takes the place of a function of the patch, or the version below has the failure as well, it is said.

Here: strategy `{strategy}`, {searches} searches with a seed of their own each, at most 1,000 schedules a search.
*Schedules* is the median of the runs until the bug showed (90th percentile behind it), over the searches that found it.
The version without the bug was searched in the same way; `clean` means that nothing was found. Where other rules than
the entry's ended a search, they are named.
"""


def cell(row: dict[str, Any]) -> str:
    found = f"{row['hits']} of {row['searches']}"
    schedules = "" if row["schedules"] is None else f"{row['schedules']:,.0f} ({row['schedules_p90']:,.0f})"
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
    if not row["expected"]:
        found = "nothing" if not row["others"] else "something"
    rule = row["rule"] or ""
    if row["others"]:
        rule += " also " + ", ".join(f"{name} x{count}" for name, count in sorted(row["others"].items()))
    clean = "clean" if not row["control"] else ", ".join(row["control"])
    where = f"{row['patch']}, {described(row['arch'])}"
    return f"| `{row['id']}` | {where} | {found} | {rule} | {schedules} | {seconds} | {clean} |"


def main() -> None:
    rows = json.loads((HERE / "zoo.json").read_text(encoding="utf-8"))
    run = [row for row in rows if row.get("searches")]
    lines = [HEAD.format(strategy=run[0]["strategy"], searches=max(row["searches"] for row in run))]
    for origin, title in ORIGINS.items():
        here = [row for row in run if row["origin"] == origin]
        if not here:
            continue
        wanted = {row["id"] for row in here if row["expected"]}
        hit = {row["id"] for row in here if row["found"]}
        lines += [f"## {title}", ""]
        if wanted:
            lines += [f"{len(hit)} of {len(wanted)} found.", ""]
        lines += [
            "| bug | version, VM type | found | rule | schedules | seconds | without it |",
            "|---|---|---|---|--:|--:|---|",
        ]
        lines += [cell(row) for row in here]
        lines.append("")
    from gmemsim.patches.zoo.registry import BUGS

    lines += ["## Seeded and not found", ""]
    lines += [f"* `{bug.name}`: {bug.unfound}." for bug in BUGS.values() if bug.unfound]
    lines += ["", "## Not expressed", ""]
    lines += [f"* `{bug.name}` ({bug.origin}): {bug.why_not}." for bug in BUGS.values() if bug.why_not]
    (HERE / "zoo.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
