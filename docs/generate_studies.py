"""Write the pages of docs/studies from one results file: studies.state, which is made by the runs that are missing.

    python docs/generate_studies.py [Q1 Q3 ...] [--state studies.state] [--jobs 2] [--check]

Without questions: all. A run that was stopped goes on. A results file of other sources than these is refused, so all
pages are of one state of the model. `--check` runs nothing and writes nothing: it fails if a page is not what the
results file gives.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gmemsim.contention.questions.picture import to_svg
from gmemsim.contention.questions.registry import STUDIES
from gmemsim.contention.questions.runner import Cell, answer, cells, markdown, open_state, run_cell
from gmemsim.jobs.share import place, share

HERE = Path(__file__).parent / "studies"


def pages(key: str, values: dict[Cell, dict[str, float]]) -> dict[Path, bytes]:
    """The page and the picture of a study."""
    told = answer(STUDIES[key], values)
    slug, charts = told.study.slug, told.study.charts(told.found)
    made = {HERE / f"{slug}.md": markdown(told, f"{slug}.svg" if charts else "").encode()}
    if charts:
        made[HERE / f"{slug}.svg"] = to_svg(charts)
    for each in told.survivals:
        if not each.holds:
            print(f"{key}: does not hold: {each.claim.text}", file=sys.stderr)
    return made


def overview() -> bytes:
    """The list of all of them."""
    lines = [
        "# Studies",
        "",
        "Open design questions of guest_memfd ([section 9](../spec/guest-memfd.md)), each answered by claims that are",
        "tested in every corner of the uncertain costs. `gmemsim bench study Q3` runs one;",
        "`python docs/generate_studies.py` writes these pages.",
        "",
        *(f"* [{key}]({study.slug}.md): {study.question}" for key, study in STUDIES.items()),
        "",
    ]
    return "\n".join(lines).encode()


def main() -> int:
    """Run what is missing, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", default=list(STUDIES))
    parser.add_argument("--state", type=Path, default=Path("studies.state"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    wanted = [cell for key in given.questions for cell in cells(STUDIES[key])]
    with open_state(given.state) as state, place(given.jobs, None) as where:
        missing = [cell for cell in wanted if cell not in state.results]
        if missing and given.check:
            print(f"{given.state}: {len(missing)} of {len(wanted)} cells are missing", file=sys.stderr)
            return 2
        for number, done in enumerate(share(run_cell, missing, where), 1):
            state.add(done)
            if not number % 100:
                print(f"{number} of {len(missing)}", file=sys.stderr, flush=True)
        values = {cell: found["values"] for cell, found in state.results.items()}
    made = {path: data for key in given.questions for path, data in pages(key, values).items()}
    made[HERE / "README.md"] = overview()
    if given.check:
        stale = [path for path, data in made.items() if not path.exists() or path.read_bytes() != data]
        print("\n".join(f"{path}: not what the results file gives" for path in stale), file=sys.stderr)
        return int(bool(stale))
    for path, data in made.items():
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
