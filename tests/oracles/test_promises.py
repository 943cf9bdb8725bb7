"""A wait that ends late breaks a promise while it lasts, and nothing else in the run."""

from __future__ import annotations

from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.rwsem_fine import FineRwSem
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.zoo.rwsem import CancelledWriterBlocksReaders
from gmemsim.studies.lock_lab import lock_lab


def rules(policy: type) -> set[str]:
    result = search(lock_lab(policy), make_strategy("random", 0), Limits(schedules=300))
    return {found.failure.rule for found in result.found}


def test_readers_behind_a_cancelled_writer_are_woken() -> None:
    assert rules(CancelledWriterBlocksReaders) == {"rwsem_promise"}


def test_the_kernel_locks_keep_their_promises() -> None:
    assert not rules(RwSem)
    assert not rules(FineRwSem)
