"""Write the pages of docs/studies from one results file, docs/studies/results.jsonl.zst.

    python docs/generate_studies.py [--check]                 # pages from the results file
    python docs/generate_studies.py --run FILE.state [--jobs 2] [Q1 Q3 ...]

With `--run` the cells that FILE.state lacks are run first (a run that was stopped goes on), and the results file is
made of it. A state file of other sources is refused; the digest of the sources stands above the results. (The file may
hold several such parts: a study whose own module was mended is run again by itself.) A page lists the corners that were
run. `--check` writes nothing and fails if a page is not what the results file gives.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from gmemsim.contention.questions.picture import to_svg
from gmemsim.contention.questions.registry import STUDIES
from gmemsim.contention.questions.runner import Cell, answer, cell_of, cells, markdown, open_state, run_cell
from gmemsim.jobs.share import place, share

HERE = Path(__file__).parent / "studies"
RESULTS = HERE / "results.jsonl.zst"


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
        "tested in every corner of the uncertain costs. `gmemsim bench study Q3` runs one. The pages are written by",
        "`python docs/generate_studies.py` from the results of one run, `results.jsonl.zst`.",
        "",
        *(f"* [{key}]({study.slug}.md): {study.question}" for key, study in STUDIES.items()),
        "",
    ]
    return "\n".join(lines).encode()


def run(path: Path, questions: list[str], jobs: int) -> None:
    """Run what a state file lacks, and make the results file of it."""
    wanted = [cell for key in questions for cell in cells(STUDIES[key])]
    with open_state(path) as state, place(jobs, None) as where:
        missing = [cell for cell in wanted if cell not in state.results]
        for number, done in enumerate(share(run_cell, missing, where), 1):
            state.add(done)
            if not number % 100:
                print(f"{number} of {len(missing)}", file=sys.stderr, flush=True)
    RESULTS.write_bytes(zstandard.ZstdCompressor(level=19).compress(path.read_bytes()))


def results() -> dict[Cell, dict[str, float]]:
    """What the results file says."""
    text = zstandard.ZstdDecompressor().decompress(RESULTS.read_bytes(), max_output_size=1 << 28)
    lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in text.splitlines()]
    return {cell_of(line): line["values"] for line in lines if "gmemsim" not in line}


def main() -> int:
    """Run what is missing, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", default=list(STUDIES))
    parser.add_argument("--run", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.run is not None:
        run(given.run, given.questions, given.jobs)
    values = results()
    made = {path: data for key in STUDIES for path, data in pages(key, values).items()}
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
