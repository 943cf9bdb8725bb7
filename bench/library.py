"""Every library scenario on every version and VM type, into docs/library.md; goes on where it was stopped.

    python bench/library.py --state FILE [--schedules N] [--known N] [--jobs N]

The file is that of `gmemsim study library`. Exit code 1 if something showed that is not known, or if a known finding
did not show.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from gmemsim.arch.registry import ARCHES
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.jobs.share import place
from gmemsim.patches.registry import versions
from gmemsim.scenarios.catalogue import names
from gmemsim.studies.library import Library, missing
from gmemsim.studies.study import Plan
from gmemsim.studies.survey import Survey, open_state

OUT = Path(__file__).parents[1] / "docs" / "library.md"

HEAD = """# The library on every version

Every scenario of the library on every version as it is, and on every VM type that the scenario is for: {count} cells,
{schedules} schedules each with strategy `portfolio` ({known} where a known finding has to show), {total} in all, with
all oracles, in the scenarios' small sizes (one or two of everything). A violation that is no known finding would be a
defect of a version, or of the model. A known finding that does not show any more, on no VM type of a version that it
is of, would be an error too. The huge-page versions run the same scenarios, whose files ask for no huge pages.
pKVM, a projection, is not among the VM types.

`python bench/library.py --state FILE --schedules {schedules} --known {known}` wrote this page ({seconds} s of processor
time); `make check-long` runs the same with other numbers. No violation in these schedules says nothing of others.

| version | VM type | scenarios | schedules | violations | runs that showed a known finding |
|---|---|--:|--:|--:|---|
"""


def page(survey: Survey) -> str:
    results, plan = survey.results, survey.plan
    lines = [
        HEAD.format(
            count=f"{len(results):,}",
            schedules=plan.schedules,
            known=plan.known,
            total=f"{sum(result.row['schedules'] for result in results):,}",
            seconds=f"{sum(result.row['cpu_seconds'] for result in results):,.0f}",
        ).rstrip("\n")
    ]
    for patch in versions():
        for arch in ARCHES:
            here = [result.row for result in results if result.asked.key[1:3] == (patch, arch)]
            known: Counter[str] = Counter()
            for row in here:
                known.update(row["known"])
            text = ", ".join(f"{name}: {runs}" for name, runs in sorted(known.items()))
            unknown = sum(sum(row["unknown"].values()) for row in here)
            total = sum(row["schedules"] for row in here)
            if here:
                lines.append(f"| {patch} | {arch} | {len(here)} | {total:,} | {unknown} | {text} |")
    lines += ["", "## Known findings", ""]
    for one in FINDINGS.values():
        shown = {result.asked.entry.name for result in results if one.ident in result.known}
        if shown or one.library:
            lines.append(
                f"* [{one.ident}](findings/{one.ident}.md) ({one.state}): "
                f"showed in {', '.join(sorted(shown)) or 'none'}; "
                f"has to show in {', '.join(one.library) or 'none'}, on {len(one.versions)} versions."
            )
    lines += ["", "## What showed and is not known", ""]
    for result in results:
        scenario, patch, arch, _ = result.asked.key
        lines += [
            f"* {patch}, {arch}, {scenario}: {text} ({runs} runs)"
            for text, runs in result.row["unknown"].items()
        ]
    lines += [f"* {name} did not show on {patch} in {scenario}" for name, patch, scenario in missing(results)]
    if lines[-1] == "":
        lines.append("Nothing.")
    return "\n".join([*lines, "", "## Scenarios", "", ", ".join(names()) + "."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--known", type=int, default=300, help="schedules where a known finding has to show")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--state", type=Path, required=True)
    options = parser.parse_args()
    survey = Survey(Library(), Plan(schedules=options.schedules, known=options.known))
    with open_state(options.state, survey.study, survey.plan) as kept, place(options.jobs, None) as where:
        for result in survey.run(where, kept):
            for text in result.row["unknown"]:
                print(f"{', '.join(result.asked.key[:3])}: {text}", file=sys.stderr, flush=True)
    OUT.write_text(page(survey), encoding="utf-8")
    sys.exit(bool(survey.wrong))


if __name__ == "__main__":
    main()
