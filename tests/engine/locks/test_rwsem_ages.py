"""Older rules of the rw-semaphore, flag by flag, and the lock of PREEMPT_RT kernels."""

from __future__ import annotations

from errno import EINTR
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import pytest
from tests.engine.locks.lab import explore, run
from tests.engine.locks.stage import BLOCKED, Stage

from gmemsim.engine.errors import ModelError
from gmemsim.engine.locks.rwsem_age import AGES, RwSemAge
from gmemsim.engine.locks.rwsem_fine import FineRwSem
from gmemsim.engine.locks.rwsem_rt import RtRwSem
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rt() -> Iterator[Stage]:
    scene = Stage(RtRwSem)
    yield scene
    scene.close()


def aged(**flags: bool) -> Stage:
    return Stage(FineRwSem, age=RwSemAge(**flags))


def test_ages_only_grow() -> None:
    names = [field.name for field in attrs.fields(RwSemAge) if field.name != "immediate_needs_no_handoff"]
    flags = [{name for name in names if getattr(age, name)} for age in AGES.values()]
    assert all(old < new for old, new in pairwise(flags))
    assert flags[-1] == set(names)


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_used_to_end_at_the_first_writer(whole: bool) -> None:
    stage = aged(whole_queue=whole)
    stage.do("a", "down_write")
    for who, operation in (("b", "down_read"), ("w", "down_write"), ("c", "down_read")):
        stage.do(who, operation)
    stage.do("a", "up_write")
    assert stage.go("b") is None
    assert stage.go("c") is (None if whole else BLOCKED)
    stage.close()


def test_a_run_of_readers_used_to_have_no_limit() -> None:
    stage = aged(whole_queue=False)
    stage.do("a", "down_write")
    readers = [f"r{number}" for number in range(300)]
    for who in readers:
        stage.do(who, "down_read")
    stage.do("a", "up_write")
    assert all(stage.go(who) is None for who in readers)
    stage.close()


@pytest.mark.parametrize("steal", [True, False])
def test_readers_did_not_steal_before_5_11(steal: bool) -> None:
    stage = aged(reader_steal=steal)
    stage.do("a", "down_write")
    stage.do("w", "down_write")
    stage.do("a", "up_write")
    assert stage.do("b", "down_read") is (None if steal else BLOCKED)
    stage.close()


@pytest.mark.parametrize("orphan", [True, False])
def test_only_the_head_used_to_take_an_orphaned_hand_off(orphan: bool) -> None:
    stage = aged(orphan_handoff=orphan)
    stage.do("a", "down_read")
    stage.answers["rwsem.deadline"] = 1
    stage.do("v", "down_write_killable")
    stage.answers["rwsem.deadline"] = 0
    stage.do("u", "down_write")
    stage.engine.signal(stage.task("v"))
    stage.go("v")
    stage.do("a", "up_read")
    # u, the head, is on its way; w queues behind it and tries once.
    assert stage.do("w", "down_write") is (None if orphan else BLOCKED)
    stage.close()


@pytest.mark.parametrize("wake", [True, False])
def test_a_cancelled_reader_used_to_wake_nobody(wake: bool) -> None:
    stage = aged(wake_after_cancel=wake)
    stage.do("a", "down_write")
    stage.do("b", "down_read_killable")
    stage.do("w", "down_write")
    stage.engine.signal(stage.task("b"))
    assert stage.go("b") == -EINTR
    assert stage.lock.statistics().paths.wake_writer == wake
    stage.do("a", "up_write")
    assert stage.go("w") is None
    stage.close()


@pytest.mark.parametrize("eager", [True, False])
def test_a_queueing_reader_used_to_look_at_the_head_only_if_the_lock_was_free(eager: bool) -> None:
    stage = aged(eager_reader_wake=eager)
    stage.do("a", "down_write")
    for number in range(257):
        stage.do(f"r{number}", "down_read")
    stage.do("a", "up_write")
    # A full batch holds the lock and the reader that did not fit in is the head: R3 keeps the newcomer out,
    # R8 may not.
    assert stage.do("c", "down_read") is (None if eager else BLOCKED)
    assert stage.go("r256") is (None if eager else BLOCKED)
    stage.close()


@pytest.mark.parametrize("counted", [True, False])
def test_contended_releases_are_counted_since_2026(counted: bool) -> None:
    stage = aged(contended_release=counted)
    stage.do("a", "down_read")
    stage.do("b", "down_read")
    stage.do("w", "down_write")
    stage.do("a", "up_read")  # not the last one, and counted nevertheless
    stage.do("b", "up_read")
    assert stage.lock.statistics().paths.contended_release == (2 if counted else 0)
    stage.close()


@pytest.mark.parametrize("program", ["rw w", "w w", "wk w"])
@pytest.mark.parametrize("age", ["5.3", "5.16"])
def test_small_programs_have_the_same_outcomes_at_any_age(program: str, age: str) -> None:
    now = explore(FineRwSem, program.split())
    assert explore(lambda label: FineRwSem(label, age=AGES[age]), program.split()) == now


# -- PREEMPT_RT --------------------------------------------------------------------------------


def test_rt_readers_enter_while_a_writer_waits(rt: Stage) -> None:
    rt.do("a", "down_read")
    assert rt.do("w", "down_write") is BLOCKED
    for who in "bcd":
        assert rt.do(who, "down_read") is None
    assert rt.do("t", "down_read_trylock") is False  # but not by the trylock, which needs the bias
    for who in "abc":
        rt.do(who, "up_read")
    assert rt.go("w") is BLOCKED
    rt.do("d", "up_read")
    assert rt.go("w") is None


def test_rt_overlapping_readers_starve_a_writer(rt: Stage) -> None:
    rt.do("a", "down_read")
    rt.do("w", "down_write")
    for _ in range(50):
        assert rt.do("b", "down_read") is None
        rt.do("a", "up_read")
        assert rt.do("a", "down_read") is None
        rt.do("b", "up_read")
        assert rt.go("w") is BLOCKED


def test_rt_readers_and_writers_queue_in_order_behind_a_writer(rt: Stage) -> None:
    rt.do("a", "down_write")
    for who, operation in (("b", "down_read"), ("w", "down_write"), ("c", "down_read")):
        assert rt.do(who, operation) is BLOCKED
    assert rt.lock.statistics().waiters == ("b", "w", "c")
    rt.do("a", "up_write")
    assert rt.go("b") is None
    # w has the rt-mutex and waits for b; c is behind it in the queue and stays there.
    assert rt.go("w") is BLOCKED
    assert rt.go("c") is BLOCKED
    rt.do("b", "up_read")
    assert rt.go("w") is None
    rt.do("w", "up_write")
    assert rt.go("c") is None


def test_rt_a_killed_writer_gives_up_the_mutex(rt: Stage) -> None:
    rt.do("a", "down_read")
    rt.do("v", "down_write_killable")
    rt.do("w", "down_write_killable")
    rt.engine.signal(rt.task("v"))
    assert rt.go("v") == -EINTR
    assert rt.go("w") is BLOCKED
    rt.do("a", "up_read")
    assert rt.go("w") == 0
    assert rt.do("b", "down_read_killable") is BLOCKED
    rt.engine.signal(rt.task("b"))
    assert rt.go("b") == -EINTR


def test_rt_downgrade_and_trylocks(rt: Stage) -> None:
    assert rt.do("a", "down_write_trylock") is True
    assert rt.do("b", "down_write_trylock") is False
    assert rt.do("b", "down_read") is BLOCKED
    rt.do("a", "downgrade_write")
    assert rt.go("b") is None
    assert rt.do("c", "down_read_trylock") is True
    assert rt.do("d", "down_write_trylock") is False
    with pytest.raises(ModelError, match="write-unlocks"):
        rt.do("c", "up_write")


def test_rt_excludes_under_random_schedules() -> None:
    for seed in range(150):
        world = run(RtRwSem, ["rwr", "wtd", "kKT", "drw", "!!"], RandomStrategy(seed))
        assert not world.deadlock
        assert world.lock.statistics().holders == ()


def test_rt_recursion() -> None:
    # A nested read lock never deadlocks here: readers pass a waiting writer.
    assert {deadlock for _, _, deadlock in explore(RtRwSem, ["n", "w"])} == {False}
    assert {deadlock for _, _, deadlock in explore(RtRwSem, ["u"])} == {True}
