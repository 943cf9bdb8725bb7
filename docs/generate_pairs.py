"""Write docs/pairs.md from docs/pairs.jsonl, which bench/pairs.py wrote.

python bench/pairs.py && python docs/generate_pairs.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gmemsim.explore.pairs import HUGE_OPERATIONS, OPERATIONS, known

HERE = Path(__file__).parent

HEAD = """# Every pair of operations

Two tasks with one operation each, on one page of one file, for every pair of operations that the VM type and version
have; an operation also meets itself. Each pair is searched from up to three states of the page: *untouched*; *used*,
where the guest has touched it (as private memory, where there is such); *shared*, where guest and host have touched it
and it is shared (VM types and versions in which such a page is in the file). Schedules are enumerated with few
preemptions first, at most {enumerated} of them and two preemptions at most; where that was not all, up to {sampled}
more are drawn with POS. The oracles, the engine and a sequential order judge; what an operation returns is left open.
`python bench/pairs.py` runs it again, from where it was stopped.

{searches} searches, {total} schedules. A cell stands for all states that its pair was searched from:

| | |
|---|---|
| `=` | every schedule with at most two preemptions and at most 16 equal steps in a row was run |
| `1`, `2` | every schedule with fewer preemptions than that was run, and others sampled |
| `0` | the cap came, from some state, before all schedules without a preemption were run; others sampled |
| **D** | a deadlock of the folio lock and the invalidate lock: [one][d1], [the other][d2] |
| **E** | eviction of a mapped page: [host fault on a page being poisoned](findings/host-fault-on-poisoned-page.md) |
| **S** | a private page mapped as shared: [slot deletion][s] |
| **F** | huge: a split waits for ever for a reference, of [a memory failure][f] or of a look-up that waits for it |
| **P** | huge: [a small hole zeroes private pages][p] |
| **?** | a violation that is none of these by rule and locks; listed below |
| blank | the VM type or version does not have one of the two |

A cell without a letter had no violation in what was run. Runs that met the step limit and end under fair turns
({unfair} of them) are no violations.

[d1]: findings/memory-failure-against-punch.md
[d2]: findings/memory-failure-fault-conversion.md
[f]: findings/hugepage-split-waits-for-memory-failure.md
[p]: findings/hugepage-hole-zeroes-private-pages.md
[s]: findings/private-page-mapped-shared-at-slot-deletion.md

What this matrix does not see: a third task (see [triples](triples.md)), a second page, and most schedules with two
preemptions or more. On `hugepage` and `hugepage-mutex` the file is one huge page of 2 MiB of which the first two pages
are used; `split` and `merge` are the conversions that do it. The versions run on their default releases: the live-lock
of pre-fault against the deletion of a slot, repaired in 6.18, shows on baseline with `--release 6.12` and not here.
"""


def sign(row: dict[str, Any]) -> tuple[int, str]:
    """How bad one search is, and its sign."""
    names = {row["first"], row["second"]}
    letters = sorted({known(names, found) or "?" for found in row["violations"]})
    if letters:
        return 9, " ".join(f"**{letter}**" for letter in letters)
    if row["scope"].startswith("complete:") or row["scope"] == "complete":
        return 0, "="
    below = row["scope"].removeprefix("complete below ").split()[0]
    return (3 - int(below), below) if below.isdigit() else (3, "0")


def mark(rows: list[dict[str, Any]]) -> str:
    """The sign of a pair: all that was found, or the least that was covered."""
    signs = sorted(sign(row) for row in rows)
    found = sorted({text for weight, text in signs if weight == 9})
    return " ".join(found) if found else signs[-1][1]


def main() -> None:
    rows = [json.loads(line) for line in (HERE / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    enumerated = max(row["schedules"] - row["sampled"] for row in rows)
    lines = [
        HEAD.format(
            enumerated=f"{enumerated:,}",
            sampled=f"{max(row['sampled'] for row in rows):,}",
            searches=f"{len(rows):,}",
            total=f"{sum(row['schedules'] for row in rows):,}",
            unfair=f"{sum(row['unfair'] for row in rows):,}",
        )
    ]
    names = list(dict.fromkeys(one.name for one in (*OPERATIONS, *HUGE_OPERATIONS)))
    for patch in dict.fromkeys(row["patch"] for row in rows):
        for arch in dict.fromkeys(row["arch"] for row in rows if row["patch"] == patch):
            searches: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for row in rows:
                if (row["patch"], row["arch"]) == (patch, arch):
                    searches.setdefault((row["first"], row["second"]), []).append(row)
            here = {pair: mark(found) for pair, found in searches.items()}
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
            letter = known({row["first"], row["second"]}, found) or "?"
            locks = f" ({found['kind']})" if found["rule"] == "deadlock" else ""
            text = f"**{letter}** {row['first']} against {row['second']}: `{found['rule']}`{locks}"
            if letter == "?":
                text += f": {found['summary']}"
            seen.setdefault(text, []).append(f"{row['patch']} {row['arch']} {row['setup']}")
    lines += [f"* {text}: {', '.join(where)}" for text, where in sorted(seen.items())]
    (HERE / "pairs.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
