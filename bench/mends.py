"""Candidate mends, judged (docs/mends.jsonl.zst); goes on where it was stopped.

    python bench/mends.py PART... [--patch VERSION ...] [--mend NAME ...] [--arch TYPE ...] [--states N] [--jobs N]
        [--seconds S]
    python docs/generate_mends.py

Parts, each a row a question, with the mend and (where no recording has it) without:

    findings   every scenario of the findings of the mend, every state up to --states
    pairs      cells of the matrix of pairs with an operation that the mend is about, every state; without it:
               docs/pairs.jsonl.zst, and where that has no such cell the table of findings
    triples    memory failure, one that takes the invalidate lock exclusively and one that takes it shared
    vectors    the kernel's selftests
    hazards    every case of the hazards that applies
    costs      storms in virtual time, with memory failures and without
    outcomes   what a scenario can come to, as userspace sees it

What a mend does not apply to is not asked. Rows are written to the file without .zst, which goes on from the compressed
one; docs/generate_mends.py compresses it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from matrix import recorded

from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.mends.registry import MENDS
from gmemsim.studies.mends.questions import PARTS, Question, answer, questions

OUT = Path(__file__).parents[1] / "docs" / "mends.jsonl"


def todo(options: argparse.Namespace, done: set[tuple[str, ...]]) -> Iterator[Question]:
    """What was not answered yet."""
    for part in options.parts:
        for version in options.patch:
            for mend in ("", *options.mend):
                for question in questions(part, version, mend):
                    if options.arch and question.arch not in options.arch:
                        continue
                    if question.key not in done:
                        yield question


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--patch", nargs="*", default=["mainline-7.3", "v3"])
    parser.add_argument("--mend", nargs="*", default=list(MENDS))
    parser.add_argument("--arch", nargs="*")
    parser.add_argument("--states", type=int, default=30_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    assert all(finding in FINDINGS for mend in MENDS.values() for finding in mend.findings)
    rows = recorded(OUT)
    OUT.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    left = list(todo(options, {tuple(row["key"]) for row in rows}))
    print(f"{len(rows)} answers are there, {len(left)} to do", flush=True)
    begin, cpu, asked = time.monotonic(), 0.0, iter(left)
    running: set[Future[dict[str, Any]]] = set()
    with (
        OUT.open("a", encoding="utf-8") as out,
        ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool,
    ):
        while True:
            late = options.seconds is not None and time.monotonic() - begin > options.seconds
            while not late and len(running) < 2 * options.jobs and (one := next(asked, None)) is not None:
                running.add(pool.submit(answer, one, options.states))
            if not running:
                break
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for row in sorted((one.result() for one in ready), key=lambda row: str(row["key"])):
                out.write(json.dumps(row) + "\n")
                out.flush()
                cpu += row["cpu_seconds"]
    print(f"{cpu:.0f} s of CPU time")


if __name__ == "__main__":
    main()
