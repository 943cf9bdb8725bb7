"""Write docs/hazards.md from docs/hazards.json.zst, which is what `gmemsim hazards --json` printed, compressed.

    gmemsim hazards --json > docs/hazards.json
    python docs/generate_hazards.py

The run takes minutes, so it is recorded, replay tokens included; a new record is compressed first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zstandard

HERE = Path(__file__).parent
NEW = HERE / "hazards.json"
PACKED = HERE / "hazards.json.zst"

HEAD = """# Hazards

What was feared or debated while guest_memfd was reviewed, and is not (yet) a bug: each as a scenario, asked of every
patch version as it is and of the version with the change that somebody proposed or feared. `gmemsim hazards` asks
all, `gmemsim hazards 8` one; `--json` has the replay tokens. A changed version has a name, `VERSION+CHANGE`, that every
command takes: `gmemsim explore zoo-file_write --patch v3+write-tests-unlocked`. So have the bugs of the zoo.

Here: strategy `{strategy}`, one search of at most {schedules:,} schedules for each cell, on the scenarios' small sizes.

* **holds**: the search found nothing. It is no proof; `holds!` marks a search that covered every schedule within its
  bounds.
* A rule (`I2`, `deadlock`, …; docs/oracles.md): what was broken, by the first schedule that did. `unexpected_outcome`:
  a call or a load came to something that the scenario rules out.
* **-**: does not apply; the reason is below the table.
{unknown}
Changes are ours, made from mails and patches; where those leave the code open, the class says so
(`src/gmemsim/patches/hazards`).
"""


def cell(rows: list[dict[str, Any]]) -> str:
    """One case on one version and VM type."""
    if not rows:
        return "-"
    (row,) = rows
    mark = "" if row["as_expected"] else " (?)"
    if row["verdict"] == "violated":
        return f"`{row['rule']}`{mark}"
    return f"holds{'!' if row['complete'] else ''}{mark}"


def case_lines(number: int, cases: list[list[dict[str, Any]]], patches: list[str]) -> list[str]:
    """Table of a hazard: cases by versions."""
    lines = [
        f"| | case | VM type | {' | '.join(patches)} |",
        f"|---|---|---|{'---|' * len(patches)}",
    ]
    for letter, rows in zip("abcdefghij", cases, strict=False):
        first = rows[0]
        seed = f" (`+{first['seed']}`)" if first["seed"] else ""
        arches = list(dict.fromkeys(row["arch"] for row in rows if row["arch"]))
        for arch in arches:
            cells = [
                cell([row for row in rows if row["patch"] == patch and row["arch"] == arch])
                for patch in patches
            ]
            lines.append(f"| {number}{letter} | {first['case']}{seed} | {arch} | {' | '.join(cells)} |")
    return lines


def notes(number: int, cases: list[list[dict[str, Any]]]) -> list[str]:
    """What the table leaves out: scenario, reasons, counts."""
    lines = []
    for letter, rows in zip("abcdefghij", cases, strict=False):
        first = rows[0]
        parts = [f"scenario `{first['scenario']}`"]
        if first["not_looked_at"]:
            parts.append(f"without {', '.join(first['not_looked_at'])}")
        broken = dict.fromkeys(row["summary"] for row in rows if row["verdict"] == "violated")
        if broken:
            parts.append(f'e.g. "{next(iter(broken))}"')
        for row in rows:
            if any(row["counts"].values()):
                counts = ", ".join(f"{label} {count:,}" for label, count in row["counts"].items())
                parts.append(f"{row['patch']}: {counts} in {row['schedules']:,} runs")
        away = [row for row in rows if row["verdict"] == "does not apply"]
        for why in dict.fromkeys(row["summary"] for row in away):
            names = ", ".join(row["patch"] for row in away if row["summary"] == why)
            parts.append(f"not {names}: {why}")
        lines.append(f"* {number}{letter}: {'; '.join(parts)}.")
    return lines


def main() -> None:
    if NEW.exists():
        PACKED.write_bytes(zstandard.ZstdCompressor(level=19).compress(NEW.read_bytes()))
        NEW.unlink()
    hazards = json.loads(zstandard.ZstdDecompressor().decompress(PACKED.read_bytes()))
    rows = [row for hazard in hazards for row in hazard["verdicts"]]
    patches = list(dict.fromkeys(row["patch"] for row in rows))
    odd = any(not row["as_expected"] for row in rows)
    unknown = "* (?): not the verdict that the entry expects.\n" if odd else ""
    lines = [HEAD.format(strategy=hazards[0]["strategy"], schedules=hazards[0]["schedules"], unknown=unknown)]
    for hazard in hazards:
        lines += [f"## {hazard['hazard']}. {hazard['title']}", "", hazard["question"], ""]
        if hazard["why_not"]:
            lines += [f"Not expressed: {hazard['why_not']}", ""]
            continue
        cases: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}
        for row in hazard["verdicts"]:
            cases.setdefault((row["case"], row["seed"], row["scenario"]), []).append(row)
        groups = list(cases.values())
        lines += [*case_lines(hazard["hazard"], groups, patches), "", *notes(hazard["hazard"], groups), ""]
        lines += [hazard["answer"], ""]
    (HERE / "hazards.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
