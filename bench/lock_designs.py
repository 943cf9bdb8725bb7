"""Searches every lock design and every twin, and writes docs/lock_designs.md.

    python bench/lock_designs.py [--schedules N] [--no-write]

Exit code 1 if something was found in a design, or nothing in a twin.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import process_time

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "lock_designs.md"
# The designs live with the tests, which are no installed package.
sys.path.insert(0, str(ROOT))

from tests.lock_designs.registry import DEEP_STRATEGIES, DESIGNS, LockDesign, search_design  # noqa: E402 (see above)
from tests.lock_designs.twins import TWINS  # noqa: E402 (see above)

HEAD = """# Correct locks

{count} lock designs that are right, searched with everything that looks at locks: deadlock, lost wake-up, livelock (a
run that meets the limit of steps is carried on under fair turns), bounded waiting where the design promises a number,
accesses to data that claims the lock, races by vector clocks, the promises of the rw-semaphore at every step, and
assertions on who is inside. Nothing may be found in them. To find nothing proves little by itself, so {twins} of them
have a twin with one line wrong, which the same search has to find.

The program (`tests/lock_designs/lab.py`): three readers, two writers, a killable reader and a killable
writer share a lock, and a task signals the killable two. A writer changes two words, each by a load and a store; a
reader finds them equal. A lock that can be downgraded is. The task that ends last takes the lock once more, so
that what a cancelled waiter left behind shows. The sequence lock has a program of its own.

The model's own locks are in `src/gmemsim/engine/locks`, the others in `tests/lock_designs`: the steps of
the sources that are named, on the model's cells and sleepers, with sequential consistency. What a design does with a
waiter that is signalled is often an addition of ours, as its source has no cancelling; the table says what it does. The
rows `rwsem-5.3` to `rwsem-6.0` are one lock step by step under the rules of a kernel release
(`engine/locks/rwsem_age.py`); `rwsem` is the newest of them in one step an operation.

`python bench/lock_designs.py --schedules {schedules}` wrote this page: strategies {strategies},
at most {schedules} schedules each, {total} in all, {seconds} s of processor time.
*Unfair* runs met the limit of steps and ended under fair turns: they are no violations. The suite runs a small form of
it, `make check-long` the same.

| design | source | a killable waiter | may be passed over | schedules | steps | unfair | found |
|---|---|---|--:|--:|--:|--:|---|
"""

TWIN_HEAD = """
## With one line wrong

The number is that of the schedule that showed it, by strategy; a dash: not within {schedules}. A design's sleepers are
all asleep in one lock, so a hang in which nobody is inside is called a lost wake-up here, also where it is a deadlock
between its parts.

| design | twin | what is wrong | rule | {strategies} |
|---|---|---|---|{columns}|
"""


def row(design: LockDesign, schedules: int) -> tuple[str, int, bool]:
    """A line of the table, the number of schedules, and whether nothing was found."""
    results = [search_design(design, strategy, schedules) for strategy in DEEP_STRATEGIES]
    total = sum(result.schedules for result in results)
    rules = sorted({one.failure.rule for result in results for one in result.found})
    bound = "" if design.bound is None else f"{design.bound} times"
    line = (
        f"| {design.name} | {design.source} | {design.killable} | {bound} | {total:,} | "
        f"{sum(result.steps for result in results):,} | {sum(result.dismissed for result in results)} | "
        f"{', '.join(rules) or 'nothing'} |"
    )
    return line, total, not rules


def twin_row(name: str, schedules: int) -> tuple[str, bool]:
    """A line of the twins' table, and whether it was found."""
    twin = TWINS[name]
    results = [search_design(twin.design, strategy, schedules) for strategy in DEEP_STRATEGIES]
    cells = [str(result.found[0].schedule) if result.found else "-" for result in results]
    rules = sorted({one.failure.rule for result in results for one in result.found})
    wrong = (twin.design.lock.__doc__ or "").strip()
    line = f"| {name} | `{twin.design.lock.__name__}` | {wrong} | {', '.join(rules)} | {' | '.join(cells)} |"
    return line, bool(rules) and set(rules) <= twin.rules


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", type=int, default=2_000)
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    options = parser.parse_args()
    began = process_time()
    rows = [row(design, options.schedules) for design in DESIGNS.values()]
    twins = [twin_row(name, options.schedules) for name in TWINS]
    head = HEAD.format(
        count=len(DESIGNS),
        twins=len(TWINS),
        schedules=f"{options.schedules}",
        strategies=", ".join(f"`{name}`" for name in DEEP_STRATEGIES),
        total=f"{sum(total for _, total, _ in rows):,}",
        seconds=f"{process_time() - began:,.0f}",
    )
    twin_head = TWIN_HEAD.format(
        schedules=f"{options.schedules}",
        strategies=" | ".join(DEEP_STRATEGIES),
        columns="--:|" * len(DEEP_STRATEGIES),
    ).replace("||", "|")
    text = head + "\n".join(line for line, _, _ in rows) + "\n" + twin_head
    text += "\n".join(line for line, _ in twins) + "\n"
    if options.no_write:
        print(text)
    else:
        OUT.write_text(text, encoding="utf-8")
    sys.exit(not all(clean for _, _, clean in rows) or not all(seen for _, seen in twins))


if __name__ == "__main__":
    main()
