"""Altered copies of logs with a known answer: does the comparison call the equal ones equal, and only those?

    python bench/altered_pairs.py [--each N] [--seed S] [--only NAME]

For every scenario of the library and every VM type that it is for, a log is recorded on a version of its own (the small
size, `v3` or, where the scenario wants conversion in place, `inplace`). Copies of it are altered: in ways that change
nothing (frames renamed by a bijection, messages renumbered, an equivalent order of the steps), and in ways that do (a
dependent swap, another frame, a flush behind the touch, …). What is dependent `event_relation` decides by the fields of
the two events alone, written down a second time and apart from the comparison: a step of another task that shares no
page, frame, lock, VM word, slot, file, message or name with it may change places with it, or one where both only look.
An alteration that finds no place in a log is left out of the table for it.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator

from alterations import DIFFER, SAME, Log

from gmemsim.arch.registry import ARCHES
from gmemsim.compare.diff import diff
from gmemsim.engine.errors import EngineError
from gmemsim.patches.registry import PatchError
from gmemsim.scenarios.catalogue import find, names
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.session import build


def record(scenario: str, arch: str) -> Log | None:
    """A log of the scenario; None if it is not for this VM type or for any version here."""
    for patch in ("v3", "inplace", "hugepage"):
        log: Log = []
        try:
            session = build(
                find(scenario), patch, arch, small=True,
                options=Options(
                    rec=lambda task, event, log=log: log.append((task.name, event)),  # type: ignore[misc]
                    keep_results=False, max_virtual_ns=10**9,
                ),
            )  # fmt: skip
            session.run("bare")
        except EngineError:
            pass
        except (ScenarioError, PatchError):
            continue
        return log[:4000]
    return None


def pairs(log: Log, each: int, seed: int) -> Iterator[tuple[str, bool, Log]]:
    """Altered copies: name of the alteration, whether it changes nothing, the copy."""
    for same, table in ((True, SAME), (False, DIFFER)):
        for name, alter in table.items():
            for number in range(each):
                rng = random.Random(f"{seed} {name} {number}")
                copy = alter(log, rng)
                if copy is not None and (same or copy != log):
                    yield name, same, copy


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=2, help="copies of each kind and log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="scenarios whose name has this part")
    arguments = parser.parse_args()
    total: Counter[tuple[bool, str]] = Counter()
    wrong: Counter[tuple[bool, str]] = Counter()
    logs = 0
    for scenario in names():
        if arguments.only and arguments.only not in scenario:
            continue
        for arch in ARCHES:
            log = record(scenario, arch)
            if not log:
                continue
            logs += 1
            for name, same, copy in pairs(log, arguments.each, arguments.seed):
                total[same, name] += 1
                if diff(log, copy).equal != same:
                    wrong[same, name] += 1
                    print(f"WRONG: {scenario}, {arch}: {name}", file=sys.stderr, flush=True)
    print(f"{sum(total.values()):,} pairs from {logs} logs, {sum(wrong.values())} wrong\n")
    print("| truth | altered | pairs | wrong |\n|---|---|--:|--:|")
    for same, name in sorted(total, reverse=True):
        print(f"| {'same' if same else 'differ'} | {name} | {total[same, name]} | {wrong[same, name]} |")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
