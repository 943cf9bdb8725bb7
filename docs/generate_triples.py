"""Write docs/triples.md from docs/triples.jsonl, which bench/triples.py wrote.

python bench/triples.py && python docs/generate_triples.py
"""

from __future__ import annotations

import json
from pathlib import Path

from gmemsim.explore.triples import Triple, known, triples

HERE = Path(__file__).parent

HEAD = """# Three operations at once

Three tasks with one operation each, on one page of one file, on versions that convert in place. A cell is three
operations and the state the page begins in: untouched; private and used by the guest; shared and used by the host.
Each cell is searched with strategies `pos` and `preemption:2`, at most {most} schedules of each.
`python bench/triples.py` goes on where this record ends.

Recorded: {done:,} of {planned:,} cells, {total:,} schedules. {complete} cells were run completely within the bound of
`preemption:2`; in the others the cap came first, and no violation there means none in those few schedules.

What it cannot see: three preemptions and more, two pages, populate and making a slot (not in these cells), and most
orders even of the cells that are here. Huge folios are met by drawn workloads instead (`bench/drawn.py`). A livelock is
one that fair turns do not end; it is known only if its other two tasks are the hole and the memory failure, waiting for
the folio and for the invalidate lock.

| version | VM type | cells recorded | of | clean | known only | with others |
|---|---|--:|--:|--:|--:|--:|
"""


def main() -> None:
    rows = [json.loads(line) for line in (HERE / "triples.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        cell = Triple(tuple(row["names"]), row["setup"], row["patch"], row["arch"])
        for found in row["violations"]:
            found["known"] = known(cell, found["rule"], found["kind"], found["summary"])
    patches = list(dict.fromkeys(row["patch"] for row in rows))
    table: list[str] = []
    planned = 0
    for patch in patches:
        for arch in ("snp", "tdx", "sw-protected"):
            here = [row for row in rows if (row["patch"], row["arch"]) == (patch, arch)]
            all_cells = len(list(triples(patch, arch)))
            planned += all_cells
            clean = sum(not row["violations"] for row in here)
            others = sum(any(found["known"] is None for found in row["violations"]) for row in here)
            rest = len(here) - clean - others
            table.append(f"| {patch} | {arch} | {len(here)} | {all_cells} | {clean} | {rest} | {others} |")
    runs = [run for row in rows for run in row["runs"]]
    head = HEAD.format(
        most=max(run["schedules"] for run in runs),
        done=len(rows),
        planned=planned,
        total=sum(run["schedules"] for run in runs),
        complete=sum(any(run["complete"] for run in row["runs"]) for row in rows),
    )
    lines = [head + "\n".join(table), "", "## Violations", ""]
    for title, wanted in (("Known", True), ("Not recognised", False)):
        seen: dict[str, list[str]] = {}
        for row in rows:
            for found in row["violations"]:
                if (found["known"] is not None) == wanted:
                    page = f"[{found['known']}](findings/{found['known']}.md)" if wanted else found["summary"]
                    text = f"`{found['rule']}` ({found['kind']}): {page}"
                    where = f"{', '.join(row['names'])} ({row['setup']}; {row['patch']}, {row['arch']})"
                    seen.setdefault(text, []).append(where)
        lines += [f"### {title}", ""]
        lines += [f"* {text}: {len(where)} cells, the first: {where[0]}" for text, where in seen.items()] or [
            "None."
        ]
        lines.append("")
    (HERE / "triples.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
