"""What the answers of bench/mends.py come to, a cell of a table each, for docs/generate_mends.py."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import zstandard

from gmemsim.explore.findings.finding import Finding
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.mends.entry import Mend
from gmemsim.studies.mends.against import added, is_complete, new_failures, removed
from gmemsim.studies.mends.questions import questions
from gmemsim.studies.mends.unjudged import UNJUDGED, met, shown_on

HERE = Path(__file__).parent
DATA = HERE / "mends.jsonl.zst"
SEARCHES = {"findings": "scenarios", "pairs": "pairs", "triples": "triples"}
#: Parts that say how much was looked at, and what they are called.
ASKED = SEARCHES | {"vectors": "selftests' vectors", "hazards": "hazards"}

Row = dict[str, Any]
Rows = dict[tuple[str, ...], Row]

#: The answers that `of` was asked of last, and the same by part, version and mend.
_GROUPED: list[Any] = []


def load() -> Rows:
    """All answers, by their keys."""
    plain = DATA.with_suffix("")
    if plain.exists():
        text = plain.read_text(encoding="utf-8")
        DATA.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))
    return packed()


def packed() -> Rows:
    """All answers that are compressed, by their keys."""
    text = zstandard.ZstdDecompressor().decompress(DATA.read_bytes()).decode()
    rows = (json.loads(line) for line in text.splitlines() if line)
    return {tuple(row["key"]): row for row in rows}


def recorded() -> Rows:
    """Pairs and triples without a mend on files of one page or huge page, keyed as those with one."""
    found: Rows = {}
    for part in ("pairs", "triples"):
        compressed = (HERE / f"{part}.jsonl.zst").read_bytes()
        for line in zstandard.ZstdDecompressor().decompress(compressed).decode().splitlines():
            row = json.loads(line)
            if row.get("pages", 1) == 1:
                key = (part, row["patch"], "", row["arch"], " + ".join((*row["names"], row["setup"])))
                found[key] = row
    return found


def of(rows: Rows, part: str, version: str, mend: str) -> Rows:
    """Answers of one part."""
    if not _GROUPED or _GROUPED[0] is not rows:
        groups: dict[tuple[str, ...], Rows] = {}
        for key, row in rows.items():
            groups.setdefault(key[:3], {})[key] = row
        _GROUPED[:] = [rows, groups]
    found: Rows = _GROUPED[1].get((part, version, mend), {})
    return found


def base_of(rows: Rows, key: tuple[str, ...]) -> Row | None:
    """The same question without the mend."""
    return rows.get((key[0], key[1], "", *key[3:]))


def counted(count: int, thing: str) -> str:
    """`1 storm`, `2 storms`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def rules(row: Row) -> dict[str, str]:
    """What a row's search broke: rule, and what the first failure of it says."""
    return {each["rule"]: each["summary"] for each in reversed(row["violations"])}


@cache
def wanted(part: str, version: str, mend: str) -> frozenset[tuple[str, ...]]:
    """Keys of all questions of a part."""
    return frozenset(question.key for question in questions(part, version, mend))


def asked_parts(rows: Rows, version: str, mend: Mend, parts: dict[str, str]) -> tuple[list[str], list[str]]:
    """What was asked of these parts, in counts, and what is missing of it: not asked, or not every state looked at."""
    asked, missing = [], []
    for part, name in parts.items():
        mine = of(rows, part, version, mend.ident)
        left = len(wanted(part, version, mend.ident) - mine.keys())
        if mine:
            asked.append(_count(len(mine), part, name))
        if left:
            missing.append(f"{_count(left, part, name) if mine else name} not asked")
        whole = sum(map(is_complete, mine.values()))
        if part in SEARCHES and whole < len(mine):
            missing.append(f"{name} complete in {whole} of {len(mine)}")
    return asked, missing


def _count(count: int, part: str, name: str) -> str:
    """`28 hazards`; of vectors an answer is one VM type."""
    return (
        f"{name} on {counted(count, 'VM type')}"
        if part == "vectors"
        else counted(count, name.removesuffix("s"))
    )


def gone(rows: Rows, finding: str, version: str, mend: Mend) -> str:
    """Whether the finding is met in its scenarios, in pairs and in triples, and how much of them was looked at."""
    told = FINDINGS[finding]
    shown = {(one.vm_type, one.scenario) for one in shown_on(told, version)}
    if not shown and finding in UNJUDGED:
        return "no rule calls it an error: see the last column"
    lines = []
    mine: Rows = {}
    for part, name in SEARCHES.items():
        here = {
            key: row
            for key, row in of(rows, part, version, mend.ident).items()
            if part != "findings" or key[3:] in shown
        }
        having = [key for key, row in here.items() if met(told, row)]
        if having:
            first = f"{having[0][4]} ({having[0][3]})"
            lines.append(f"**met** in {len(having)} of {len(here)} {name}, the first: {first}")
        if part == "findings":
            mine = here
    if lines:
        return "<br>".join(lines)
    # What no rule calls an error only its scenarios tell.
    others = {} if finding in UNJUDGED else {part: SEARCHES[part] for part in ("pairs", "triples")}
    asked, missing = asked_parts(rows, version, mend, others)
    if not mine:
        why = "its scenarios were not asked" if shown else "it has no scenario for this version"
        return "; ".join([f"not met in {' and '.join(asked)}", why, *missing]) if asked else "not asked"
    text = _in_scenarios(told, rows, mine)
    return "; ".join([text, *([f"not met in {' and '.join(asked)}"] if asked else []), *missing])


def _in_scenarios(told: Finding, rows: Rows, mine: Rows) -> str:
    """What the scenarios, which did not meet it, say."""
    cut = {key: row for key, row in mine.items() if not is_complete(row)}
    if not cut:
        return f"gone in {counted(len(mine), 'scenario')}"
    bases = [base_of(rows, key) for key in cut]
    nothing = all(base is None or not met(told, base) for base in bases)
    text = f"not met; {counted(len(cut), 'scenario')} of {len(mine)} cut short"
    return text + (", nor met without the mend, which says nothing of it" if nothing else "")


def new_rules(rows: Rows, version: str, mend: Mend) -> dict[str, dict[str, str]]:
    """Rules that break with the mend and not without: by rule, searches (`2 of 93 pairs`) and what the first says."""
    found: dict[str, dict[str, str]] = {}
    for part, name in SEARCHES.items():
        mine = of(rows, part, version, mend.ident)
        count: Counter[str] = Counter()
        says: dict[str, str] = {}
        for key, row in mine.items():
            new = new_failures(row, base_of(rows, key))
            count.update(list(new))
            says = new | says
        for rule, summary in says.items():
            found.setdefault(rule, {})[f"{count[rule]} of {len(mine)} {name}"] = summary
    return found


def breaks(rows: Rows, version: str, mend: Mend) -> str:
    """What breaks with the mend and not without; other verdicts of vectors and hazards; what stays mapped.

    Where that is nothing: in how much.
    """
    lines = [
        f"**{rule}** in {where} ({says})"
        for rule, found in new_rules(rows, version, mend).items()
        for where, says in found.items()
    ]
    left = sum(row["left_mapped"] for row in of(rows, "findings", version, mend.ident).values())
    if left:
        lines.append(f"in {counted(left, 'scenario')} a run ends with the poisoned page mapped in the guest")
    lines += [f"vector {one} fails" for one in newly_failed(rows, version, mend)]
    lines += other_hazards(rows, version, mend, holds=False)
    asked, missing = asked_parts(rows, version, mend, ASKED)
    if not lines and not asked:
        return "not asked"
    if not lines:
        lines.append(f"nothing new in {', '.join(asked)}")
    return "<br>".join([*lines, *(["; ".join(missing)] if missing else [])])


def newly_failed(rows: Rows, version: str, mend: Mend) -> list[str]:
    """Vectors that fail with the mend only."""
    vectors = of(rows, "vectors", version, mend.ident)
    return sorted(
        f"{one} ({key[3]})"
        for key, row in vectors.items()
        for one in set(row["failed"]) - set((base_of(rows, key) or {"failed": []})["failed"])
    )


def other_hazards(rows: Rows, version: str, mend: Mend, *, holds: bool) -> list[str]:
    """Hazards that come to something else with the mend: those that hold now, or the others."""
    lines = []
    for key, row in of(rows, "hazards", version, mend.ident).items():
        before = base_of(rows, key)
        other = before and (row["verdict"], row["rule"]) != (before["verdict"], before["rule"])
        if before and other and (row["verdict"] == "holds") == holds:
            now, was = (f"{one['verdict']} {one['rule']}".strip() for one in (row, before))
            lines.append(f"hazard {key[4]} on {key[3]}: {now}, was {was}")
    return lines


def healed(rows: Rows, version: str, mend: Mend) -> str:
    """Rules that break without the mend and do not with it, in searches that are complete with it."""
    found: Counter[str] = Counter()
    for part in SEARCHES:
        for key, row in of(rows, part, version, mend.ident).items():
            base = base_of(rows, key)
            if base is not None and is_complete(row):
                found.update(sorted(set(rules(base)) - set(rules(row))))
    lines = [f"{rule} in {count}" for rule, count in sorted(found.items())]
    return "<br>".join(lines + other_hazards(rows, version, mend, holds=True))


def asked_of(rows: Rows, part: str, version: str, mend: Mend) -> str:
    """How much of a part was asked, on which VM types, and how much of it is complete."""
    mine = of(rows, part, version, mend.ident)
    if not mine:
        there = part != "vectors" or wanted(part, version, mend.ident)
        return "none" if there else "none is for this version"
    types = ", ".join(sorted({key[3] for key in mine}))
    if part == "vectors":
        new = len(newly_failed(rows, version, mend))
        text = f"{sum(row['passed'] for row in mine.values()):,} pass"
        if same := sum(len(row["failed"]) for row in mine.values()) - new:
            text += f", {same} fail as without the mend"
        if new:
            text += f", {new} {'fails' if new == 1 else 'fail'} with the mend only: see above"
        return f"{text} ({types})"
    if part == "hazards":
        same = len(mine) - sum(len(other_hazards(rows, version, mend, holds=one)) for one in (True, False))
        return f"{same} of {len(mine)} as before ({types})"
    cut = [row for row in mine.values() if not is_complete(row)]
    text = f"{len(mine)}, all complete" if not cut else f"{len(mine)}, {len(mine) - len(cut)} complete"
    if cut:
        most = min(row["bound"] if "bound" in row else row["states"] for row in cut)
        text += f", the others to {most:,} states" + (
            " and 60 drawn schedules" if part != "findings" or all(row.get("sampled") for row in cut) else ""
        )
    shared = Counter(row["same_as"] for row in mine.values() if "same_as" in row)
    text += "".join(f"; {count} by the code of {other}" for other, count in shared.items())
    held = sum(base_of(rows, key) is not None for key in mine)
    if held < len(mine):
        text += f"; without the mend {held} of them"
    return f"{text} ({types})"


def order(rows: Rows, version: str, mend: Mend) -> list[str]:
    """Edges and cycles of the lock order over the scenarios, against those without the mend.

    What was not seen is only said to be missing, or new, where the other search looked at every state.
    """
    lines: list[str] = []
    mine = of(rows, "findings", version, mend.ident)
    held = [(row, base) for key, row in mine.items() if (base := base_of(rows, key)) is not None]
    if len(held) < len(mine):
        lines.append(
            f"{counted(len(mine) - len(held), 'scenario')} not asked without the mend: nothing is said there"
        )
    for name, one in (("edges", "edge"), ("cycles", "cycle")):
        now = {each for row, _ in held for each in row[name]}
        before = {each for _, base in held for each in base[name]}
        new = {each for row, base in held for each in added(row, base, name) or ()} - before
        gone_now = {each for row, base in held for each in removed(row, base, name) or ()} - now
        if new:
            lines.append(f"new {one if len(new) == 1 else name}: {'; '.join(sorted(new))}")
        if gone_now:
            lines.append(f"no more {one if len(gone_now) == 1 else name}: {'; '.join(sorted(gone_now))}")
    cut = sum(not (is_complete(row) and is_complete(base)) for row, base in held)
    if cut:
        lines.append(
            f"{counted(cut, 'scenario')} cut short, with or without: what is missing there is not said"
        )
    return lines


def costs(rows: Rows, version: str, mend: Mend) -> str:
    """Throughput against that of the version as it is, in virtual time; what stays the same is counted only."""
    parts, same = [], 0
    for key, row in of(rows, "costs", version, mend.ident).items():
        base = base_of(rows, key)
        if base is None or not base["per_ms"]:
            continue
        storm, background, *folios = key[4].split(" / ")
        name = storm + (f" beside a {background}er" if background != "none" else "")
        name += f", {int(folios[0]):,} folios" if folios else ""
        if not row["per_ms"]:
            parts.append(f"{name}: nothing is left that the cost table charges")
            continue
        change = row["per_ms"] / base["per_ms"] - 1
        if abs(change) < 0.0005 and row["beside_per_ms"] == base["beside_per_ms"]:
            same += 1
            continue
        beside = ""
        if row["beside_per_ms"] != base["beside_per_ms"]:
            beside = f" ({row['beside_per_ms']:.1f} holes a ms beside it, was {base['beside_per_ms']:.1f})"
        parts.append(f"{name}: {change:+.1%}{beside}")
    if not parts and not same:
        return "not asked"
    return "<br>".join([*parts, f"as before in {counted(same, 'storm')}" if same else ""]).removesuffix(
        "<br>"
    )


def changes(rows: Rows, version: str, mend: Mend) -> str:
    """Outcomes that are new, or not there any more."""
    lines, same = [], 0
    mine = of(rows, "outcomes", version, mend.ident)
    for key, row in mine.items():
        base = base_of(rows, key)
        if base is None:
            continue
        now, before = set(row["outcomes"]), set(base["outcomes"])
        # What was not seen is only said to be missing where every state was looked at.
        new = sorted(now - before) if base["complete"] else []
        missing = sorted(before - now) if row["complete"] else []
        whole = row["complete"] and base["complete"]
        parts = [f"new `{each}`" for each in new] + [f"no more `{each}`" for each in missing]
        if parts:
            lines.append(f"{key[4]}: {', '.join(parts)}{'' if whole else ' (cut short)'}")
        elif whole:
            same += 1
        else:
            lines.append(f"{key[4]}: {len(now & before)} outcomes seen with and without (cut short)")
    if not lines and not same:
        return "not asked"
    return "<br>".join([*lines, f"as before in {counted(same, 'scenario')}" if same else ""]).removesuffix(
        "<br>"
    )
