"""Write docs/pairs.md from docs/pairs.jsonl, which bench/pairs.py wrote.

python bench/pairs.py && python docs/generate_pairs.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gmemsim.explore.pairs import OPERATIONS

HERE = Path(__file__).parent

HEAD = """# Every pair of operations

Two tasks with one operation each, on one page of one file, for every pair of operations that the VM type and version
have; an operation also meets itself. Schedules are enumerated with few preemptions first, at most {schedules} of them
for a pair, two preemptions at most. The oracles, the engine and a sequential order judge; what an operation returns is
left open. `python bench/pairs.py` runs it again.

{cells} cells, {total} schedules. In a cell:

| | |
|---|---|
| `=` | every schedule with at most two preemptions and at most 16 equal steps in a row was run, no violation |
| `1`, `2` | every schedule with fewer preemptions than that was run, no violation in what was |
| `0` | the cap came before all schedules without a preemption were run, no violation in what was |
| **D** | deadlock: [memory failure against the invalidate lock](findings/memory-failure-against-punch.md) |
| **E** | eviction of a mapped page: [host fault on a page being poisoned](findings/host-fault-on-poisoned-page.md) |
| **?** | a violation that is none of these; listed below |
| blank | the VM type or version does not have one of the two |

Runs that met the step limit and end under fair turns ({unfair} of them) are no violations.

What this matrix does not see: a cell has one setup, with no page that the guest has mapped and memory that is private
where it can be, so some operations find nothing to do (`to private` of private memory, `madvise` and `munmap` of a page
that is not there), and the host fault on a page being poisoned, a known finding, does not show. The cap hides more:
population against memory failure on SNP is marked `1` here and does deadlock on v3 and inplace, within 300 schedules of
strategy `pos`. **D** is given to every deadlock that has memory failure in its pair; its locks are not compared.
"""


def mark(row: dict[str, Any]) -> str:
    rules = {found["rule"] for found in row["violations"]}
    names = {row["first"], row["second"]}
    if rules == {"deadlock"} and "memory failure" in names:
        return "**D**"
    if rules == {"I19"} and "memory failure" in names:
        return "**E**"
    if rules:
        return "**?**"
    if row["scope"].startswith("complete:") or row["scope"] == "complete":
        return "="
    below = row["scope"].removeprefix("complete below ").split()[0]
    return below if below.isdigit() else "0"


def main() -> None:
    rows = [json.loads(line) for line in (HERE / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    most = max(row["schedules"] for row in rows)
    lines = [
        HEAD.format(
            schedules=f"{most:,}",
            cells=f"{len(rows):,}",
            total=f"{sum(row['schedules'] for row in rows):,}",
            unfair=f"{sum(row['unfair'] for row in rows):,}",
        )
    ]
    names = [one.name for one in OPERATIONS]
    for patch in dict.fromkeys(row["patch"] for row in rows):
        for arch in dict.fromkeys(row["arch"] for row in rows if row["patch"] == patch):
            here = {
                (row["first"], row["second"]): mark(row)
                for row in rows
                if (row["patch"], row["arch"]) == (patch, arch)
            }
            used = [name for name in names if any(name in pair for pair in here)]
            counts = Counter(here.values())
            summary = ", ".join(f"{count} x {sign}" for sign, count in sorted(counts.items()))
            lines += [f"## {patch}, {arch}", "", f"{summary}.", "", "| | " + " | ".join(used) + " |"]
            lines.append("|---|" + ":-:|" * len(used))
            for number, first in enumerate(used):
                cells = [
                    "" if column < number else here.get((first, used[column]), "")
                    for column in range(len(used))
                ]
                lines.append(f"| {first} | " + " | ".join(cells) + " |")
            lines.append("")
    lines += ["## Violations", ""]
    seen: dict[str, list[str]] = {}
    for row in rows:
        for found in row["violations"]:
            text = f"{row['first']} against {row['second']}: `{found['rule']}`: {found['summary']}"
            seen.setdefault(text, []).append(f"{row['patch']} {row['arch']}")
    lines += [f"* {text} ({', '.join(where)})" for text, where in seen.items()]
    (HERE / "pairs.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
