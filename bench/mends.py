"""Candidate mends, judged (docs/mends.jsonl.zst); goes on where it was stopped.

    python bench/mends.py PART... [--patch VERSION ...] [--mend NAME ...] [--arch TYPE ...] [--states N] [--jobs N]
        [--seconds S]
    python docs/generate_mends.py

Parts, each a row a question, with the mend and (where no recording has it) without:

    findings   every scenario of the findings of the mend, every state up to --states
    pairs      cells of the matrix of pairs with an operation that the mend is about, every state; without it:
               docs/pairs.jsonl.zst; where that has no such cell it is asked if a failure is met that is no finding
    triples    memory failure, one that takes the invalidate lock exclusively and one that takes it shared
    vectors    the kernel's selftests
    hazards    every case of the hazards that applies
    costs      storms in virtual time, with memory failures and without
    outcomes   what a scenario can come to, as userspace sees it

What a mend does not apply to is not asked. A scenario, pair or triple whose search entered no function and read no
value in which another version, or the version with another mend, differs is not asked of that again (`same_as`). Rows
are written to the file without .zst, which goes on from the compressed one; docs/generate_mends.py compresses it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from matrix import recorded

from gmemsim.explore.findings.groups import ALL_VERSIONS
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.jobs.share import place, share
from gmemsim.patches.mends.registry import MENDS
from gmemsim.studies.mends.questions import PARTS, Question, answers, questions

OUT = Path(__file__).parents[1] / "docs" / "mends.jsonl"


@attrs.frozen
class Before:
    """Whether a time of the monotonic clock, which all processes share, is still to come; None: always."""

    end: float | None

    def __call__(self) -> bool:
        return self.end is None or time.monotonic() < self.end


def todo(options: argparse.Namespace, done: set[tuple[str, ...]]) -> list[list[Question]]:
    """What was not answered yet: of each question, the versions and mends."""
    asked: dict[tuple[str, ...], list[Question]] = {}
    for part in options.parts:
        for mend in ("", *options.mend):
            for version in options.patch:
                for question in questions(part, version, mend, options.mend):
                    if options.arch and question.arch not in options.arch:
                        continue
                    if question.key not in done:
                        asked.setdefault((part, question.arch, question.what), []).append(question)
    return list(asked.values())


def unmended() -> set[tuple[str, ...]]:
    """Pairs and triples without a mend that docs/pairs.jsonl.zst and docs/triples.jsonl.zst have."""
    return {
        (part, row["patch"], "", row["arch"], " + ".join((*row["names"], row["setup"])))
        for part in ("pairs", "triples")
        for row in recorded(OUT.with_name(f"{part}.jsonl"))
        if row.get("pages", 1) == 1
    }


def without(row: dict[str, Any]) -> Question | None:
    """What tells whether a failure of a pair or triple, which is no finding, is there without the mend."""
    part, version, mend, arch, what = row["key"]
    if not mend or part not in ("pairs", "triples") or all(one["known"] for one in row["violations"]):
        return None
    return Question(part, version, "", arch, what)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--patch", nargs="*", default=list(ALL_VERSIONS))
    parser.add_argument("--mend", nargs="*", default=list(MENDS))
    parser.add_argument("--arch", nargs="*")
    parser.add_argument("--states", type=int, default=30_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    assert all(finding in FINDINGS for mend in MENDS.values() for finding in mend.findings)
    rows = recorded(OUT)
    OUT.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = {tuple(row["key"]) for row in rows} | unmended()
    left = list(todo(options, done))
    print(f"{len(rows)} answers are there, {sum(map(len, left))} to do", flush=True)
    mine = [row for row in rows if row["key"][0] in options.parts and row["key"][2] in options.mend]
    unmet = [
        one for one in map(without, mine) if one and one.key not in done and one.version in options.patch
    ]
    left = [[one] for one in dict.fromkeys(unmet)] + left
    done.update(one.key for one in unmet)
    cpu = 0.0
    goes_on = Before(None if options.seconds is None else time.monotonic() + options.seconds)

    def in_time(left: list[list[Question]]) -> Iterator[list[Question]]:
        for asked in left:
            if goes_on():
                yield asked

    run = partial(answers, states=options.states, goes_on=goes_on)
    with OUT.open("a", encoding="utf-8") as out, place(options.jobs, None) as where:
        while left:
            unmet = []
            for found in share(run, in_time(left), where):
                for row in sorted(found, key=lambda row: str(row["key"])):
                    out.write(json.dumps(row) + "\n")
                    out.flush()
                    cpu += row["cpu_seconds"]
                    base = without(row)
                    if base is not None and base.key not in done:
                        done.add(base.key)
                        unmet.append(base)
            left = [[one] for one in unmet]
    print(f"{cpu:.0f} s of CPU time")


if __name__ == "__main__":
    main()
