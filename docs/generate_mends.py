"""Write docs/mends.md, and the part on mends of each finding's page.

    python docs/generate_mends.py

From docs/mends.jsonl.zst (bench/mends.py; rows that it left in docs/mends.jsonl are compressed first), and
docs/mended_kernel.txt: what reproducers/mend/compare.sh and workloads.sh printed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import zstandard
from mended_kernel import on_a_kernel, workloads

from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.mends.entry import Mend
from gmemsim.patches.mends.registry import MENDS, mends_of
from gmemsim.studies.mends.questions import PARTS, applies, questions

HERE = Path(__file__).parent
DATA = HERE / "mends.jsonl.zst"
BEGIN, END = "<!-- mends: made by docs/generate_mends.py -->", "<!-- end of mends -->"

_LOCK = (
    "`error-bindings-lock`. It takes the edge from the folio lock to the invalidate lock away, adds none that closes a "
    "circle, and keeps what memory_failure promises when it returns. A trylock alone leaves mappings for good; with "
    "a worker they go later, which needs an allocation in the hook and references of inode and VM. Without the folio "
    "lock nothing keeps the inode."
)
_KIND = (
    "`get-pfn-checks-kind`: the attribute is read there anyway, under the lock that conversions hold, so that it also "
    "stands against look-ups that are still to come. `kind-of-fault-slot` is as good in the model and smaller."
)
_ENTRIES = (
    "None; the VMM's MADV_DONTNEED, or a new mapping, after the hole. Each candidate that takes the entry away also "
    "takes from every other process the one thing that told it of the loss (rule I50). To be decided by maintainers; "
    "the call without even_cows changes nothing."
)
RECOMMENDED = {
    "memory-failure-against-punch": _LOCK,
    "memory-failure-allocation-writer": _LOCK,
    "memory-failure-fault-conversion": _LOCK,
    "memory-failure-against-populate": _LOCK,
    "unbind-during-memory-failure": "`unbind-locks`, which is upstream in 7.3, for trees before it; "
    "`error-bindings-lock` mends this and the deadlocks of memory_failure at once.",
    "host-fault-on-poisoned-page": "`fault-dirties`: it restores what kept the page to 7.3, in the one place that "
    "knows that KVM may write to it. `error-references-first` mends it for every file system and is a change of mm/. "
    "The look in guest_memfd's own handler does not mend it.",
    "poisoned-mapping-survives-punch": _ENTRIES,
    "tdx-removal-failure": "`tdx-leak-on-failure`. The VM is dead by then, so a leaked page is the least of it; an "
    "error of PUNCH_HOLE does not help the last close.",
    "snp-launch-update-after-finish": "`snp-launch-state`, as posted. The invalidate lock in every fault mends it too "
    "brings the deadlock of memory failures to faults.",
    "snp-vmsa-page-freed-in-use": "`vmsa-reload`, which is upstream. `reclaim-leaks` is a net below it: it loses "
    "memory. A reference of the vCPU mends nothing.",
    "snp-rmp-fault-against-reclaim": "`rmp-fault-checks-invalidation`: the protocol that the fault path has, with no "
    "sleeping lock and no reference that outlives get_pfn. A look without a lock mends nothing.",
    "hugepage-hole-zeroes-private-pages": "`huge-hole-whole-pages`, as review asked: the others either leave data that "
    "userspace wanted gone, or take validated pages from a guest.",
    "private-page-mapped-shared-at-slot-deletion": _KIND,
    "hugepage-split-waits-for-look-up": "`huge-mutex`, as announced. A wake-up alone ends the hang and not the shared "
    "page in a huge folio.",
    "hugepage-split-waits-for-memory-failure": "`huge-split-gives-up`. A look at the references before the split "
    "leaves the race with a memory failure that is on its way.",
    "prefault-against-slot-deletion": "`prefault-eagain`, which is upstream in 6.18.",
    "v8-fault-keeps-reference": "`get-pfn-puts`, as the series was applied. A grace period under the invalidate lock "
    "is a deadlock, and a second look is none.",
}

Row = dict[str, Any]
Rows = dict[tuple[str, ...], Row]

HEAD = """# Candidate mends

For findings of [docs/findings](findings/README.md): what a change to a version mends, breaks, costs and changes. None
was posted; each is a change of a version (`gmemsim list mends`, `VERSION+NAME` in every command). `gmemsim findings ID
--mends` searches a finding's scenarios anew; this page is of `bench/mends.py`, which asks more and goes on where it was
stopped.

Costs are of storms of 8 threads on 512 folios in virtual time, with nobody else and with a thread that punches
(`gmemsim bench contention`); of memory_failure the cost table charges zaps and waits only: a mend that zaps less is
"faster".

A mend is judged in every pair of operations that it is about (for memory_failure every pair with a memory failure),
and, where memory_failure is what it mends, in every triple of a memory failure, one who takes the invalidate lock
exclusively and one who takes it shared.

*Gone* and *complete* are said of searches of every state of small scenarios with one file, within the model's bounds.
"""

#: What there has to be an answer of, for a version to have a table.
JUDGING = ("findings", "pairs", "triples", "outcomes")
WORDS = (
    "Answers, of how many questions there are; what is not in the table was not asked. Part by part: scenarios of the "
    "findings, pairs, triples, selftests' vectors (one answer a VM type), hazards, storms, scenarios whose outcomes "
    "are compared. A search that gave up at its bound of states is an answer too, and is not complete (the findings' "
    "tables say how many are)."
)


def load() -> Rows:
    """All answers, by their keys."""
    plain = DATA.with_suffix("")
    if plain.exists():
        text = plain.read_text(encoding="utf-8")
        DATA.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))
    text = zstandard.ZstdDecompressor().decompress(DATA.read_bytes()).decode()
    rows = (json.loads(line) for line in text.splitlines() if line)
    return {tuple(row["key"]): row for row in rows}


def recorded_pairs() -> Rows:
    """Pairs without a mend, keyed as those with one."""
    text = zstandard.ZstdDecompressor().decompress((HERE / "pairs.jsonl.zst").read_bytes()).decode()
    rows = (json.loads(line) for line in text.splitlines() if line)
    return {
        ("pairs", row["patch"], "", row["arch"], " + ".join((*row["names"], row["setup"]))): row
        for row in rows
        if not row.get("huge")
    }


def of(rows: Rows, part: str, version: str, mend: str) -> Rows:
    """Answers of one part."""
    return {key: row for key, row in rows.items() if key[:3] == (part, version, mend)}


def base_of(rows: Rows, key: tuple[str, ...]) -> Row | None:
    """The same question without the mend."""
    return rows.get((key[0], key[1], "", *key[3:]))


def rules(row: Row) -> dict[str, str]:
    """What a row's search broke: rule, and what the first failure of it says."""
    return {each["rule"]: each["summary"] for each in reversed(row["violations"])}


def versions(rows: Rows) -> list[str]:
    """Versions that anything was asked of."""
    return list(dict.fromkeys(key[1] for key in rows))


def gone(rows: Rows, finding: str, version: str, mend: Mend) -> str:
    """Whether the finding is met in its scenarios, and in pairs of operations."""
    lines = []
    for shown in FINDINGS[finding].shown:
        row = rows.get(("findings", version, mend.ident, shown.vm_type, shown.scenario))
        if row is None:
            continue
        met = any(each["known"] == finding for each in row["violations"])
        said = "**met**" if met else "gone" if row["complete"] else "not met"
        scope = "complete" if row["complete"] else "cut short"
        lines.append(
            f"{said}: {shown.scenario}, {shown.vm_type}, {scope}, {row['states']:,} states, {row['cpu_seconds']:.0f} s"
        )
    for part in ("pairs", "triples"):
        mine = of(rows, part, version, mend.ident)
        met_in = [
            key for key, row in mine.items() if any(one["known"] == finding for one in row["violations"])
        ]
        if met_in:
            lines.append(
                f"**met** in {len(met_in)} of {len(mine)} {part}, the first: {met_in[0][4]}, {met_in[0][3]}"
            )
        elif mine:
            lines.append(f"in none of {len(mine)} {part}")
    if not FINDINGS[finding].shown:
        return "no oracle calls it an error: see the changes for userspace"
    return "<br>".join(dict.fromkeys(lines)) or "not run"


def breaks(rows: Rows, version: str, mend: Mend) -> str:
    """Rules that break with the mend and not without, over scenarios and cells; and how much was looked at."""
    lines = []
    for part, name in (("findings", "scenarios"), ("pairs", "pairs"), ("triples", "triples")):
        mine = of(rows, part, version, mend.ident)
        if not mine:
            if part != "triples" or mend.triples:
                lines.append(f"{name}: not run")
            continue
        new: Counter[str] = Counter()
        says: dict[str, str] = {}
        healed: Counter[str] = Counter()
        compared = complete = 0
        for key, row in mine.items():
            base = base_of(rows, key)
            done = row.get("complete", str(row.get("scope", "")).startswith("complete:"))
            complete += bool(done)
            compared += base is not None
            for each in row["violations"]:
                # What is known is the version's, with the mend or without.
                rule = each["rule"]
                if not each["known"] and (base is None or rule not in rules(base)):
                    new[rule] += 1
                    says.setdefault(rule, each["summary"])
            for rule in rules(base) if base is not None else ():
                if rule not in rules(row) and done:
                    healed[rule] += 1
        where = ", ".join(dict.fromkeys(key[3] for key in mine))
        broken = "; ".join(f"**{rule}** in {count} ({says[rule]})" for rule, count in new.items())
        mended = ", ".join(f"{rule} in {count}" for rule, count in healed.items())
        lines.append(
            f"{name} on {where}, {complete} of {len(mine)} complete, {compared} held against the version without: "
            f"{broken or 'nothing new'}" + (f"; gone: {mended}" if mended else "")
        )
    left = sum(row["left_mapped"] for row in of(rows, "findings", version, mend.ident).values())
    if left:
        lines.append(f"in {left} scenarios a run ends with the poisoned page mapped in the guest")
    lines.append(suites(rows, version, mend))
    return "<br>".join(lines)


def suites(rows: Rows, version: str, mend: Mend) -> str:
    """Vectors and hazards against those without the mend."""
    vectors = of(rows, "vectors", version, mend.ident)
    passed = sum(row["passed"] for row in vectors.values())
    failed = {one for row in vectors.values() for one in row["failed"]}
    base = {one for key in vectors for one in (base_of(rows, key) or {"failed": []})["failed"]}
    text = (
        f"vectors: {passed:,} passed, newly failed: {', '.join(sorted(failed - base)) or 'none'}"
        if vectors
        else ("vectors: not run")
    )
    hazards = of(rows, "hazards", version, mend.ident)
    if not hazards:
        return f"{text}; hazards: not run"
    other = []
    for key, row in hazards.items():
        before = base_of(rows, key)
        if before and (row["verdict"], row["rule"]) != (before["verdict"], before["rule"]):
            there = f"{row['verdict']} {row['rule']}".strip()
            other.append(f"{key[4]} {key[3]}: {there}, was {before['verdict']} {before['rule']}".strip())
    return f"{text}; hazards: {len(hazards)} asked, other than before: {'; '.join(other) or 'none'}"


def order(rows: Rows, version: str, mend: Mend) -> str:
    """Edges and cycles of the lock order over the scenarios, against those without the mend."""
    lines: list[str] = []
    held = [key for key in of(rows, "findings", version, mend.ident) if base_of(rows, key) is not None]
    if not held:
        return "not run"
    for name, mark in (("edges", "edge"), ("cycles", "cycle")):
        now: set[str] = set()
        before: set[str] = set()
        for key, row in of(rows, "findings", version, mend.ident).items():
            base = base_of(rows, key)
            if base is not None:
                now |= set(row[name])
                before |= set(base[name])
        lines += [f"+ {mark} {each}" for each in sorted(now - before)]
        lines += [f"- {mark} {each}" for each in sorted(before - now)]
    return "<br>".join(lines) or "as before"


def costs(rows: Rows, version: str, mend: Mend) -> str:
    """Throughput against that of the version as it is, in virtual time."""
    parts = []
    for key, row in of(rows, "costs", version, mend.ident).items():
        base = base_of(rows, key)
        if base is not None and base["per_ms"] and not row["per_ms"]:
            parts.append(f"{key[4]}: nothing is left that the cost table charges")
        elif base is not None and base["per_ms"]:
            parts.append(f"{key[4]}: {row['per_ms'] / base['per_ms'] - 1:+.1%}")
    return "<br>".join(parts) or "not run"


def changes(rows: Rows, version: str, mend: Mend) -> str:
    """Outcomes that are new, or not there any more."""
    lines = []
    for key, row in of(rows, "outcomes", version, mend.ident).items():
        base = base_of(rows, key)
        if base is None:
            continue
        now, before = set(row["outcomes"]), set(base["outcomes"])
        # What was not seen is only said to be missing where every state was looked at.
        new = sorted(now - before) if base["complete"] else []
        missing = sorted(before - now) if row["complete"] else []
        whole = row["complete"] and base["complete"]
        parts = [f"new `{each}`" for each in new] + [f"not any more `{each}`" for each in missing]
        same = f"the same, {len(now)}" if whole else f"{len(now & before)} seen with and without"
        lines.append(f"{key[4]}: {', '.join(parts) or same}{'' if whole else ' (cut short)'}")
    return "<br>".join(lines) or "not run"


def table(rows: Rows, finding: str, version: str) -> list[str]:
    """The table of one finding on one version."""
    lines = [
        "| mend | the finding | breaks | lock order | costs (throughput) | changes for userspace |",
        "|---|---|---|---|---|---|",
    ]
    for mend in mends_of(finding):
        cells = (
            gone(rows, finding, version, mend),
            breaks(rows, version, mend),
            order(rows, version, mend),
            costs(rows, version, mend),
            changes(rows, version, mend),
        )
        lines.append(f"| `{mend.ident}` | {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def brief(rows: Rows, finding: str, version: str) -> list[str]:
    """What was asked of the mends on one more version."""
    lines = []
    for mend in mends_of(finding):
        said = f"{gone(rows, finding, version, mend)}<br>{breaks(rows, version, mend)}".split("<br>")
        answers = [one for one in said if "not run" not in one]
        if answers:
            lines.append(f"* `{mend.ident}` on `{version}`: {'; '.join(answers)}.")
    return lines


def section(rows: Rows, finding: str) -> str:
    """What a finding's page says of its mends."""
    lines = [BEGIN, "", "## Candidate mends", ""]
    for mend in mends_of(finding):
        wrong = f" **Known to be wrong**: {mend.wrong}." if mend.wrong else ""
        lines.append(f"* `{mend.ident}`: {mend.title}. {mend.says[0].upper()}{mend.says[1:]}.{wrong}")
        if mend.blind:
            lines.append(f"  Not seen by the model: {mend.blind}.")
    if finding in RECOMMENDED:
        lines += ["", f"**Recommendation.** {RECOMMENDED[finding]}"]
    lines += ["", *on_a_kernel(finding)]
    lines += [f"    gmemsim findings {finding} --mends", ""] if FINDINGS[finding].shown else []
    there = [
        version
        for version in versions(rows)
        if any(of(rows, part, version, mend.ident) for mend in mends_of(finding) for part in JUDGING)
    ]
    if there:
        # One table, of the version of which most was asked; the others in a line a mend.
        main = max(there, key=lambda version: sum(bool(of(rows, part, version, mend.ident))
                   for mend in mends_of(finding) for part in PARTS))  # fmt: skip
        lines += [f"On `{main}`, by `bench/mends.py`; what is compared is the version without the mend:", ""]
        lines += [*table(rows, finding, main), ""]
        others = [line for version in there if version != main for line in brief(rows, finding, version)]
        lines += ["On other versions:", "", *others, ""] if others else []
    return "\n".join([*lines, END])


def with_section(text: str, made: str) -> str:
    """The page with the part replaced, or at its end."""
    if BEGIN in text:
        return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: made, text, flags=re.DOTALL)
    return f"{text.rstrip()}\n\n{made}\n"


def summary(rows: Rows) -> str:
    """docs/mends.md: what was asked, how far it came, and where the tables are."""
    lines = [HEAD, "| mend | what it does | candidates for |", "|---|---|---|"]
    for mend in MENDS.values():
        pages = ", ".join(f"[{one}](findings/{one}.md)" for one in mend.findings)
        lines.append(
            f"| `{mend.ident}` | {mend.title}{'; known to be wrong' if mend.wrong else ''} | {pages} |"
        )
    lines += ["", "## How far it came", "", WORDS, ""]
    lines += [f"| mend | version | {' | '.join(PARTS)} |", f"|---|---|{'--:|' * len(PARTS)}"]
    asked = Counter(key[:3] for key in rows)
    seconds = sum(row["cpu_seconds"] for row in rows.values())
    for mend in MENDS.values():
        for version in versions(rows):
            if not applies(mend, version) or not any(asked[part, version, mend.ident] for part in PARTS):
                continue
            cells = []
            for part in PARTS:
                wanted = sum(1 for _ in questions(part, version, mend.ident))
                done = asked[part, version, mend.ident]
                cells.append(f"{done} of {wanted}" if wanted else "")
            lines.append(f"| `{mend.ident}` | {version} | {' | '.join(cells)} |")
    lines += ["", f"{len(rows):,} answers took {seconds:,.0f} s of processor time.", "", *workloads()]
    return "\n".join(lines)


def main() -> None:
    rows = load()
    everything = rows | recorded_pairs()
    finding_ids = [one for one in FINDINGS if mends_of(one)]
    for finding in finding_ids:
        page = HERE / "findings" / f"{finding}.md"
        made = section(everything, finding)
        page.write_text(with_section(page.read_text(encoding="utf-8"), made), encoding="utf-8")
    (HERE / "mends.md").write_text(summary(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
