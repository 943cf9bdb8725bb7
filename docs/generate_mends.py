"""Write docs/mends.md, and the part on mends of each finding's page.

    python docs/generate_mends.py

From docs/mends.jsonl.zst (bench/mends.py; rows that it left in docs/mends.jsonl are compressed first), and
docs/mended_kernel.txt: what reproducers/mend/compare.sh and workloads.sh printed.
"""

from __future__ import annotations

import re

from mended_kernel import on_a_kernel, workloads
from mends_cells import (
    ASKED,
    HERE,
    SEARCHES,
    Rows,
    asked_of,
    base_of,
    breaks,
    changes,
    costs,
    gone,
    healed,
    load,
    new_rules,
    of,
    order,
    recorded,
    wanted,
)  # fmt: skip
from mends_text import DECIDED, RECOMMENDED, SEEN_WRONG

from gmemsim.explore.findings.groups import ALL_VERSIONS
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.mends.entry import Mend
from gmemsim.patches.mends.registry import MENDS, mends_of
from gmemsim.studies.mends.against import is_complete
from gmemsim.studies.mends.questions import PARTS, applies
from gmemsim.studies.mends.unjudged import met, shown_on, versions_of

BEGIN, END = "<!-- mends: made by docs/generate_mends.py -->", "<!-- end of mends -->"

#: The version on which a mend is checked first, of those that have the finding.
LATEST = ("mainline-7.3", "v3", "v2", "inplace", *reversed(ALL_VERSIONS))

HEAD = """# Candidate mends

For findings of [docs/findings](findings/README.md): what a change to a version mends, breaks, costs and changes. None
was posted; each is a change of a version (`gmemsim list mends`, `VERSION+NAME` in every command). `gmemsim findings ID
--mends` searches a finding's scenarios anew; this page is of `bench/mends.py`, which asks more and goes on where it was
stopped.

A mend is for the versions that have one of its findings; on another it is refused (exit code 2), by every command and
in Python. A patch of your own counts as the version that it derives from, so that `mine.py:MyPatch+NAME` is refused or
not as that version is. Several go together (`VERSION+NAME+NAME`), the last one outermost. Refused is what would make
the label false: the same one twice, and a change that replaces a function of another, which would never run. Any change
by name, bugs and hazards too, is refused where nothing calls what it changes.

A mend is judged in every pair of operations that it is about (for memory_failure every pair with a memory failure),
and, where memory_failure is what it mends, in every triple of a memory failure, one who takes the invalidate lock
exclusively and one who takes it shared. Each is a search of every state of a small scenario with one page of one file,
within the model's bounds. A search of more states than its bound is cut there, and 60 schedules are drawn besides: it
is not complete.

* *Gone*: the finding is met in none of its scenarios, which were searched completely, and in no pair or triple that was
  asked; the cell says which were not, and how many of those searches are complete. *Not met* says nothing where the
  search was cut and the version without the mend is not met either.
  A finding that no rule calls an error is told by its scenario alone, where a search notes the step; pairs say nothing.
* *By the code of* a version, or of it with another mend: the search of that one entered no function, and read no value,
  in which the two differ. Its answer is the other's too, and was not asked again (`gmemsim.studies.mends.same_code`).
  Failures are so shared only where each of them is a finding that both versions have.
* *Breaks*: rules that were met with the mend, are no known finding of the version, and were not met without it as
  anything but a known finding. *Nothing new* is of what the cell counts.
* *Costs* are of storms of 8 threads in virtual time, with nobody else and with a thread that punches (`gmemsim bench
  contention`). Of memory_failure the cost table charges zaps and waits only: a mend that zaps less is "faster". Beside
  a puncher a mend that lets holes through is "slower", so the holes are given as well.
"""

WORDS = (
    "Answers, of how many questions there are; what is not in the table was not asked. Part by part: scenarios of the "
    "findings, pairs, triples, selftests' vectors (one answer a VM type), hazards, storms, scenarios whose outcomes "
    "are compared. A search that gave up at its bound of states is an answer too, and is not complete (the findings' "
    "tables say how many are, and to which bound).",
    "",
    "Asked first is the recommended mend of each finding, on the newest version that has it. A candidate that was seen "
    "to break something is rejected by that; the pairs and versions that are missing could only add to it. Those that "
    "are missing of a recommended mend are open: nothing here speaks for them. They were left out for want of "
    "computing time alone, and `bench/mends.py` goes on with them.",
    "",
    "An answer is of the code on the day when it was asked, and the model went on since: a part of the pairs, triples, "
    "hazards, vectors and outcomes is of earlier code, on which a search can have had other numbers of states. What is "
    "held against each other for *breaks* is of one question, and not always of one day.",
)


def versions(rows: Rows) -> list[str]:
    """Versions that anything was asked of."""
    return list(dict.fromkeys(key[1] for key in rows))


def has(finding: str, version: str) -> bool:
    """Whether the version has the finding."""
    return version in versions_of(FINDINGS[finding])


def row_of(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def tables(rows: Rows, finding: str, version: str) -> list[str]:
    """What the mends come to on one version, and what was asked for it."""
    lines = [
        "| mend | the finding | breaks | costs (throughput) | changes for userspace |",
        "|---|---|---|---|---|",
    ]
    mends = mends_of(finding)
    lines += [
        row_of(
            f"`{mend.ident}`",
            gone(rows, finding, version, mend),
            *(cell(rows, version, mend) for cell in (breaks, costs, changes)),
        )
        for mend in mends
    ]
    lines += ["", "What was asked for it:", "", f"| mend | {' | '.join(ASKED.values())} | heals |"]
    lines += [f"|{'---|' * (len(ASKED) + 2)}"]
    for mend in mends:
        parts = [
            ""
            if part == "triples" and not (mend.triples or mend.three)
            else asked_of(rows, part, version, mend)
            for part in ASKED
        ]
        lines.append(row_of(f"`{mend.ident}`", *parts, healed(rows, version, mend)))
    orders = {
        mend.ident: order(rows, version, mend) for mend in mends if of(rows, "findings", version, mend.ident)
    }
    if any(orders.values()):
        lines += [
            "",
            "The order of locks over the scenarios (held, then asked for; r shared, w exclusive):",
            "",
        ]
        lines += [f"* `{ident}`: {'. '.join(changed)}." for ident, changed in orders.items() if changed]
        same = [f"`{ident}`" for ident, changed in orders.items() if not changed]
        lines += [f"* {', '.join(same)}: as before."] if same else []
    return lines


def decided(rows: Rows, finding: str) -> list[str]:
    """What each new violation under the mends is."""
    lines = []
    for mend in mends_of(finding):
        new = {rule: None for version in versions(rows) for rule in new_rules(rows, version, mend)}
        lines += [
            f"* `{mend.ident}`, {rule}: {DECIDED.get((mend.ident, rule), 'not decided yet')}." for rule in new
        ]
    return ["", "New violations, decided from the sources:", "", *lines] if lines else []


def asked_and_not(rows: Rows, part: str, version: str, mend: Mend) -> str:
    """What was asked of a part, and how much was not; empty: there is nothing to ask."""
    keys = wanted(part, version, mend.ident)
    left = len(keys - rows.keys())
    if not keys:
        return ""
    if left == len(keys):
        return f"{ASKED[part]}: **none of {left}**"
    asked = f"{ASKED[part]}: {asked_of(rows, part, version, mend)}"
    return asked + (f"; **{left} not asked**" if left else "")


def others(rows: Rows, finding: str, main: str) -> list[str]:
    """What was asked of the mends on other versions."""
    lines = []
    for version in versions(rows):
        for mend in mends_of(finding):
            if version == main or not has(finding, version):
                continue
            parts = list(filter(None, (asked_and_not(rows, part, version, mend) for part in ASKED)))
            if any(of(rows, part, version, mend.ident) for part in SEARCHES):
                found = gone(rows, finding, version, mend)
                lines.append(
                    row_of(f"`{mend.ident}`", version, found, breaks(rows, version, mend), "<br>".join(parts))
                )
    head = ["| mend | version | the finding | breaks | asked |", "|---|---|---|---|---|"]
    return ["", "On other versions that have the finding:", "", *head, *lines] if lines else []


def unasked(rows: Rows, finding: str) -> str:
    """Versions that have the finding and of which nothing was asked, in words."""
    lines = []
    for mend in mends_of(finding):
        none = [
            version
            for version in ALL_VERSIONS
            if has(finding, version) and not any(of(rows, part, version, mend.ident) for part in PARTS)
        ]
        if none:
            lines.append(f"* `{mend.ident}`: {', '.join(none)}.")
    return (
        "\n".join(["", "Versions that have it and of which nothing was asked:", "", *lines]) if lines else ""
    )


def recommended(finding: str) -> str:
    """The mend that the recommendation names first; empty: none is recommended."""
    said = RECOMMENDED.get(finding, "")
    first = next(iter(re.findall(r"`([\w-]+)`", said)), "")
    return first if said.startswith(f"`{first}`") and first in MENDS else ""


def cut_short(rows: Rows, part: str, version: str, mend: str) -> int:
    """How many searches with the mend were cut short; of outcomes those without it count too."""
    mine = of(rows, part, version, mend)
    bases = (base_of(rows, key) for key in mine)
    return sum(
        not is_complete(row) or (part == "outcomes" and base is not None and not is_complete(base))
        for row, base in zip(mine.values(), bases, strict=True)
    )


def open_questions(rows: Rows, finding: str, main: str) -> str:
    """What was asked of the recommended mend on the version of the tables, and what was not, in words."""
    mend = recommended(finding)
    if not mend:
        return ""

    def asked(version: str, part: str) -> tuple[int, int]:
        keys = wanted(part, version, mend)
        return len(keys & rows.keys()), len(keys)

    there = [version for version in ALL_VERSIONS if has(finding, version)]
    counts = {part: asked(main, part) for part in PARTS}
    words = ASKED | {"costs": "storms", "outcomes": "outcomes"}
    whole = [words[part] for part, (done, total) in counts.items() if done == total > 0]
    left = [
        f"{words[part]} ({total - done} of {total})" for part, (done, total) in counts.items() if done < total
    ]
    cut = [
        f"{words[part]} ({count} of {len(of(rows, part, main, mend))})"
        for part in (*SEARCHES, "outcomes")
        if (count := cut_short(rows, part, main, mend))
    ]
    text = f"Of `{mend}` on {main} was asked, all of it: {', '.join(whole) or 'nothing'}. "
    if left:
        text += f"**Not asked**, and nothing speaks for it there: {', '.join(left)}. "
    if cut:
        text += f"**Cut short**, so that only a part of the states was looked at: {', '.join(cut)}. "
    text = text.rstrip() if left or cut else f"{text}Nothing is open."
    none = [version for version in there if not any(asked(version, part)[0] for part in PARTS)]
    return text + (f" Nothing was asked on {', '.join(none)}, which have the finding." if none else "")


def how_to_check(finding: str) -> list[str]:
    """Commands that search the scenarios with the recommended mend, and all candidates."""
    there = versions_of(FINDINGS[finding])
    shown = FINDINGS[finding].shown
    best = recommended(finding)
    if not best or not any(shown_on(FINDINGS[finding], version) for version in there):
        return []
    if not shown:
        return [
            "**How to check it.** No rule calls it an error; whether any run of a scenario comes to it, with each "
            "candidate and without:",
            "",
            f"    gmemsim findings {finding} --mends",
            "",
        ]
    lines = [
        "**How to check it.** Every state of the scenarios with the recommended mend, then all candidates:",
        "",
    ]
    commands = []
    for one in shown:
        version = next(each for each in LATEST if each in (one.versions or there))
        release = FINDINGS[finding].release_on(version)
        commands.append(
            f"    gmemsim explore {one.scenario} --patch {version}+{best}"
            + (f" --release {release}" if release else "")
            + f" --arch {one.vm_type} --strategy stateful"
        )
    # A scenario that is shown with two strategies is one search of all states.
    lines += dict.fromkeys(commands)
    return [*lines, f"    gmemsim findings {finding} --mends", ""]


def seen_wrong(rows: Rows, finding: str, mend: Mend) -> str:
    """How it is known that a mend is wrong: the tables show it, or what else does."""
    there = [
        version
        for version in versions(rows)
        for part in SEARCHES
        for row in of(rows, part, version, mend.ident).values()
        if met(FINDINGS[finding], row)
    ]
    if there:
        return f"The searches show it: the finding is still met on {', '.join(dict.fromkeys(there))}."
    if mend.ident in SEEN_WRONG:
        return SEEN_WRONG[mend.ident]
    new = {rule: None for version in versions(rows) for rule in new_rules(rows, version, mend)}
    assert new, f"how is it known that {mend.ident} is wrong? Neither an answer nor SEEN_WRONG tells"
    return f"The searches show it: {', '.join(f'`{rule}`' for rule in new)} is new with it."


def section(rows: Rows, finding: str) -> str:
    """What a finding's page says of its mends."""
    there = ", ".join(f"`{version}`" for version in versions_of(FINDINGS[finding]))
    lines = [
        BEGIN,
        "",
        "## Candidate mends",
        "",
        f"Versions of the model that have the finding: {there}.",
        "",
    ]
    for mend in mends_of(finding):
        wrong = (
            f" **Known to be wrong**: {mend.wrong}. {seen_wrong(rows, finding, mend)}" if mend.wrong else ""
        )
        lines.append(f"* `{mend.ident}`: {mend.title}. {mend.says[0].upper()}{mend.says[1:]}.{wrong}")
        if mend.blind:
            lines.append(f"  Not seen by the model: {mend.blind}.")
    # The version of which most was asked is told whole, the others in a line a mend.
    counts = {
        version: sum(
            bool(of(rows, part, version, mend.ident)) for mend in mends_of(finding) for part in PARTS
        )
        for version in versions(rows)
        if has(finding, version)
    }
    main = max(counts, key=lambda version: counts[version])
    if finding in RECOMMENDED:
        lines += ["", f"**Recommendation.** {RECOMMENDED[finding]}"]
    if said := open_questions(rows, finding, main):
        lines += ["", said]
    lines += ["", *on_a_kernel(finding)]
    lines += how_to_check(finding)
    if counts[main]:
        lines += [
            f"On `{main}`, held against `{main}` without the mend ([what the words mean](../mends.md)):",
            "",
            *tables(rows, finding, main),
            *decided(rows, finding),
            *others(rows, finding, main),
            unasked(rows, finding),
            "",
        ]
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
    lines += ["", "## How far it came", "", *WORDS, ""]
    lines += [f"| mend | version | {' | '.join(PARTS)} |", f"|---|---|{'--:|' * len(PARTS)}"]
    seconds = sum(row["cpu_seconds"] for row in rows.values())
    for mend in MENDS.values():
        for version in versions(rows):
            if not applies(mend, version) or not any(of(rows, part, version, mend.ident) for part in PARTS):
                continue
            cells = []
            for part in PARTS:
                keys = wanted(part, version, mend.ident)
                cells.append(f"{len(keys & rows.keys())} of {len(keys)}" if keys else "")
            lines.append(f"| `{mend.ident}` | {version} | {' | '.join(cells)} |")
    lines += ["", f"{len(rows):,} answers took {seconds:,.0f} s of processor time.", "", *workloads()]
    return "\n".join(lines)


def main() -> None:
    rows = load()
    everything = rows | recorded()
    finding_ids = [one for one in FINDINGS if mends_of(one)]
    for finding in finding_ids:
        page = HERE / "findings" / f"{finding}.md"
        made = section(everything, finding)
        page.write_text(with_section(page.read_text(encoding="utf-8"), made), encoding="utf-8")
    (HERE / "mends.md").write_text(summary(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
