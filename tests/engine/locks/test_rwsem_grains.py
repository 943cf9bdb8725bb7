"""The coarse grain has the outcomes of the fine one: compared over all schedules of small programs."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.engine.locks.lab import GRAINS, Dfs, explore, run

from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.rwsem_fine import FineRwSem

if TYPE_CHECKING:
    from tests.engine.locks.lab import Outcome

#: Two tasks with up to three operations each: reads, writes, trylocks, downgrades, nested reads, killable
#: ones.
PAIRS = [
    "r w", "w w", "rr w", "rw w", "rr ww", "wrw rwr", "n w", "nr ww", "nw r", "d w", "dr w", "dd w", "dw rw", "u r",
    "kK w", "wKw w", "wk w", "Tt tw", "tT wr", "TwT rr", "rTr ww", "wTr rw",
]  # fmt: skip
#: Three and four tasks.
GROUPS = ["t w r", "T r w", "w K !", "r k !", "T T w t", "u w"]
#: The same without spinning, which makes several times fewer states.
DULL = ["r r w", *(pytest.param(text, marks=pytest.mark.long) for text in ("w w r", "d r w", "T t w r"))]

_letters = Random(1)
#: Three operations a task, nothing but reads, writes and nested reads.
GENERATED = sorted(
    {f"{''.join(_letters.choices('rrwn', k=3))} {''.join(_letters.choices('rwwd', k=2))}" for _ in range(6)}
)


@pytest.mark.parametrize("program", [*PAIRS, *GROUPS, *GENERATED])
def test_the_grains_agree(program: str) -> None:
    coarse, fine = (explore(lock, program.split()) for lock in GRAINS.values())
    assert coarse == fine


@pytest.mark.parametrize("program", DULL)
def test_the_grains_agree_without_spinning(program: str) -> None:
    coarse = explore(lambda label: RwSem(label, spinning=False), program.split())
    fine = explore(lambda label: FineRwSem(label, spinning=False), program.split())
    assert coarse == fine


#: What only the fine grain reaches. Nothing else may be in the difference.
FINE_ONLY: dict[str, set[Outcome]] = {
    # a releases, and its own trylock fails although nobody holds the lock or is queued: b, whose fast path
    # failed, is still counted (R1 to R7). The coarse reader is counted only if it has the lock.
    "wTw r": {(("A", "A", "b"), ("a2 False",), False)},
    # b locks the queue while a holds, and R7 sets WAITERS after a's release looked for it. Until b's own look
    # at the head (R8) grants it the lock, a read trylock sees a queue. The coarse reader queues and looks in
    # one step.
    "wtw r": {(("A", "A", "b"), ("a2 False",), False), (("A", "b", "A"), ("a2 False",), False)},
}


@pytest.mark.parametrize("program", FINE_ONLY)
def test_where_the_fine_grain_reaches_more(program: str) -> None:
    coarse, fine = (explore(lock, program.split()) for lock in GRAINS.values())
    assert fine - coarse == FINE_ONLY[program]
    assert coarse <= fine


@pytest.mark.parametrize("program", ["r w", "w w", "r r w", "d r", "T w"])
def test_cutting_runs_short_loses_no_outcome(program: str) -> None:
    full = explore(RwSem, program.split(), prune=False)
    assert explore(RwSem, program.split()) == full


def test_the_odometer_counts_every_schedule() -> None:
    dfs = Dfs(prune=False)
    orders = set()
    while dfs.begin(None):  # type: ignore[arg-type] # it needs no engine
        world = run(RwSem, ["r", "r"], dfs)
        orders.add(tuple(world.log))
    # Each task has a start, an acquisition and a release: 6! / (3! 3!) interleavings.
    assert dfs.runs == 20
    assert orders == {("a:r", "b:r"), ("b:r", "a:r")}


def test_deadlocks_are_outcomes() -> None:
    outcomes = explore(RwSem, ["n", "w"])
    assert {deadlock for _, _, deadlock in outcomes} == {True, False}
    assert {deadlock for _, _, deadlock in explore(RwSem, ["u"])} == {True}


def test_every_generated_program_is_one_of_a_kind() -> None:
    assert len({*PAIRS, *GROUPS, *GENERATED}) >= 34
    assert all(len(task) <= 3 for text in (*PAIRS, *GENERATED) for task in text.split())
    assert not {first for first, second in product(PAIRS, GROUPS) if first == second}
