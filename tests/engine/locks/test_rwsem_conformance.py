"""The rw-semaphore scene by scene: C1 to C13 of the specification, and what is explicitly not promised."""

from __future__ import annotations

from errno import EINTR
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.locks.lab import GRAINS
from tests.engine.locks.stage import BLOCKED, Stage

from gmemsim.engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=GRAINS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    scene = Stage(GRAINS[request.param])
    yield scene
    scene.close()


@pytest.fixture
def fine() -> Iterator[Stage]:
    scene = Stage(GRAINS["fine"])
    yield scene
    scene.close()


def paths(stage: Stage) -> Any:
    return stage.lock.statistics().paths


def test_c1_a_reader_queues_behind_a_writer_that_waits_for_readers(stage: Stage) -> None:
    assert stage.do("a", "down_read") is None
    assert stage.do("w", "down_write") is BLOCKED
    assert stage.do("b", "down_read") is BLOCKED
    assert stage.lock.statistics().waiters == ("w", "b")
    stage.do("a", "up_read")
    assert stage.go("w") is None
    assert stage.go("b") is BLOCKED
    stage.do("w", "up_write")
    assert stage.go("b") is None
    assert stage.lock.statistics().holders == ("b",)


def test_c2_a_reader_steals_a_free_lock_from_a_woken_writer(stage: Stage) -> None:
    stage.do("a", "down_write")
    assert stage.do("w", "down_write") is BLOCKED
    stage.do("a", "up_write")
    assert stage.do("b", "down_read") is None
    assert stage.go("w") is BLOCKED
    assert paths(stage).rlock_steal == 1
    stage.do("b", "up_read")
    assert stage.go("w") is None


def test_c2_the_first_thief_lets_queued_readers_in(fine: Stage) -> None:
    # R4 with n == 1: the window is open until mark_wake, and the thief closes it for the readers at the head.
    fine.do("a", "down_write")
    assert fine.do("b", "down_read") is BLOCKED
    fine.start("a", "up_write")
    fine.until("a", "acquire x.wait_lock")
    assert fine.do("c", "down_read") is None
    assert fine.go("b") is None
    assert fine.lock.statistics().holders == ("c", "b")


def test_c3_a_writer_past_its_deadline_is_next(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("w", "down_write")
    stage.do("a", "up_write")
    stage.do("b", "down_read")
    stage.answers["rwsem.deadline"] = 1
    assert stage.go("w") is BLOCKED
    assert paths(stage).wlock_handoff == 1
    stage.do("b", "up_read")
    # The lock is free and the writer has not run yet, as in C2, but now it is promised.
    assert stage.do("c", "down_read") is BLOCKED
    assert stage.do("d", "down_write") is BLOCKED
    assert stage.go("w") is None
    stage.do("w", "up_write")
    assert stage.go("c") is None


@pytest.mark.parametrize("patient", [True, False], ids=["before the deadline", "after the deadline"])
def test_c4_a_spinner_barges_until_the_hand_off(stage: Stage, patient: bool) -> None:
    stage.do("a", "down_write")
    assert stage.do("v", "down_write") is BLOCKED
    assert stage.do("w", "down_write") is BLOCKED
    stage.do("a", "up_write")
    # The first spinner finds v woken but slow; v then fails, and has waited too long or not.
    stage.answers["rwsem.spin"] = 1
    assert stage.do("s", "down_write") is None
    assert paths(stage).opt_lock == 1
    stage.answers["rwsem.deadline"] = 0 if patient else 1
    assert stage.go("v") is BLOCKED
    stage.do("s", "up_write")
    got = stage.do("u", "down_write")
    if patient:
        assert got is None
        assert stage.go("v") is BLOCKED
    else:
        assert got is BLOCKED
        assert stage.go("v") is None
    assert stage.go("w") is BLOCKED


def test_c4_the_head_that_waited_too_long_keeps_other_queued_writers_out(stage: Stage) -> None:
    stage.do("a", "down_read")
    stage.answers["rwsem.deadline"] = 1
    assert stage.do("v", "down_write") is BLOCKED
    stage.do("a", "up_read")
    # w queues while the lock is free: it tries once (W7), and must yield to the head.
    assert stage.do("w", "down_write") is BLOCKED
    assert stage.go("v") is None


def test_n1_a_writer_that_queues_on_a_free_lock_overtakes_the_head(stage: Stage) -> None:
    stage.do("a", "down_read")
    assert stage.do("v", "down_write") is BLOCKED
    stage.do("a", "up_read")
    assert stage.do("w", "down_write") is None
    assert paths(stage).wlock == 1
    assert stage.go("v") is BLOCKED


def test_c5_a_batch_passes_over_a_writer(stage: Stage) -> None:
    stage.do("a", "down_write")
    for who, operation in (("b", "down_read"), ("w", "down_write"), ("c", "down_read"), ("d", "down_read")):
        assert stage.do(who, operation) is BLOCKED
    stage.do("a", "up_write")
    assert [stage.go(who) for who in "bcd"] == [None] * 3
    assert stage.go("w") is BLOCKED
    assert stage.lock.statistics().waiters == ("w",)


def test_c6_a_batch_has_at_most_256_readers(stage: Stage) -> None:
    stage.do("a", "down_write")
    readers = [f"r{number}" for number in range(300)]
    for who in readers:
        stage.do(who, "down_read")
    stage.do("a", "up_write")
    inside = [who for who in readers if stage.go(who) is None]
    assert inside == readers[:256]
    for who in inside:
        stage.do(who, "up_read")
    assert [who for who in readers[256:] if stage.go(who) is None] == readers[256:]


def test_c7_a_downgrade_lets_readers_at_the_head_join(stage: Stage) -> None:
    stage.do("a", "down_write")
    for who, operation in (("b", "down_read"), ("w", "down_write"), ("c", "down_read")):
        stage.do(who, operation)
    assert stage.do("a", "downgrade_write") is None
    assert stage.lock.read_held(stage.task("a"))
    assert not stage.lock.write_held(stage.task("a"))
    assert [stage.go(who) for who in "bc"] == [None, None]
    assert stage.go("w") is BLOCKED


def test_c7_a_downgrade_wakes_nobody_behind_a_writer_at_the_head(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("w", "down_write")
    stage.do("b", "down_read")
    stage.do("a", "downgrade_write")
    assert paths(stage).wake_writer == paths(stage).wake_reader == 0
    assert [stage.go(who) for who in "wb"] == [BLOCKED, BLOCKED]
    stage.do("a", "up_read")
    assert stage.go("w") is None


def test_c8_a_cancelled_head_lets_the_readers_behind_it_in(stage: Stage) -> None:
    stage.do("a", "down_read")
    assert stage.do("w", "down_write_killable") is BLOCKED
    assert stage.do("b", "down_read") is BLOCKED
    stage.engine.signal(stage.task("w"))
    assert stage.go("w") == -EINTR
    assert stage.go("b") is None
    assert paths(stage).wlock_fail == 1
    assert stage.lock.statistics().holders == ("a", "b")


def test_c8_a_head_cancelled_while_the_lock_is_free_lets_the_readers_in(fine: Stage) -> None:
    fine.do("a", "down_read")
    fine.do("w", "down_write_killable")
    fine.do("b", "down_read")
    fine.engine.signal(fine.task("w"))
    # w has seen its signal and is about to lock the queue again when the last holder leaves.
    fine.until("w", "release x.wait_lock")
    fine.step("w")
    fine.do("a", "up_read")
    assert fine.go("w") == -EINTR
    assert fine.go("b") is None


def test_c9_a_queue_makes_trylocks_fail(stage: Stage) -> None:
    stage.do("a", "down_read")
    assert stage.do("b", "down_read_trylock") is True
    assert stage.do("c", "down_write_trylock") is False
    stage.do("b", "up_read")
    stage.do("w", "down_write")
    assert stage.do("b", "down_read_trylock") is False
    stage.do("a", "up_read")
    # Even if nobody holds the lock: a trylock never steals.
    assert stage.do("b", "down_read_trylock") is False
    assert stage.do("b", "down_write_trylock") is False


def test_c9_a_passing_reader_makes_a_write_trylock_fail(fine: Stage) -> None:
    fine.do("a", "down_write")
    fine.start("b", "down_read")
    fine.until("b", "load x.owner")
    fine.do("a", "up_write")
    assert fine.lock.holders() == ()
    assert fine.do("c", "down_write_trylock") is False
    assert fine.do("c", "down_read_trylock") is True


def test_c10_a_second_read_lock_works_while_nobody_is_queued(stage: Stage) -> None:
    stage.do("a", "down_read")
    assert stage.do("a", "down_read") is None
    stage.do("a", "up_read")
    assert stage.lock.read_held(stage.task("a"))
    stage.do("a", "up_read")
    assert not stage.lock.read_held(stage.task("a"))


def test_c10_a_second_read_lock_deadlocks_behind_a_writer(stage: Stage) -> None:
    stage.do("a", "down_read")
    stage.do("w", "down_write")
    assert stage.do("a", "down_read") is BLOCKED
    assert stage.go("w") is BLOCKED


@pytest.mark.parametrize("second", ["down_read", "down_write"])
def test_n5_after_a_write_lock_anything_deadlocks(stage: Stage, second: str) -> None:
    stage.do("a", "down_write")
    assert stage.do("a", second) is BLOCKED


def test_n5_an_upgrade_deadlocks(stage: Stage) -> None:
    stage.do("a", "down_read")
    assert stage.do("a", "down_write") is BLOCKED


def test_n1_without_hand_off_a_writer_is_overtaken_as_often_as_you_like(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("w", "down_write")
    stage.do("a", "up_write")
    for _ in range(40):
        assert stage.do("b", "down_read") is None
        assert stage.go("w") is BLOCKED
        stage.do("b", "up_read")
    assert paths(stage).rlock_steal == 40
    assert stage.go("w") is None


def test_n2_a_reader_after_a_queued_writer_need_not_queue(stage: Stage) -> None:
    stage.do("a", "down_read")
    stage.do("w", "down_write")
    stage.do("a", "up_read")
    assert stage.do("b", "down_read") is None
    assert stage.lock.statistics().waiters == ("w",)
    # But a live read phase is not joined (R3).
    assert stage.do("c", "down_read") is BLOCKED


def test_n6_another_task_may_release_for_a_reader(stage: Stage) -> None:
    stage.do("a", "down_read")
    stage.do("w", "down_write")
    with pytest.raises(ModelError, match="b read-unlocks x"):
        stage.do("b", "up_read")
    stage.do("c", "up_read_non_owner", stage.task("a"))
    assert stage.go("w") is None


def test_c11_contention_is_logged_by_those_who_queue_only(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("w", "down_write")
    stage.do("a", "up_write")
    stage.do("b", "down_read")
    stage.go("w")
    stage.do("b", "up_read")
    stage.go("w")
    assert stage.mentions("a") == ["LockRequest w", "Lock w", "Unlock w"]
    assert stage.mentions("b") == ["LockRequest r", "Lock r", "Unlock r"]
    assert stage.mentions("w") == ["LockRequest w", "Contended w", "Lock w"]


def test_c11_a_spinner_is_not_contended(stage: Stage) -> None:
    stage.answers["rwsem.spin"] = 1
    stage.do("a", "down_write")
    assert stage.do("s", "down_write") is BLOCKED
    stage.do("a", "up_write")
    assert stage.go("s") is None
    assert stage.mentions("s") == ["LockRequest w", "Lock w"]
    assert stage.lock.statistics().write.contentions == 1


def test_c11_a_reader_logs_contention_after_it_was_granted(fine: Stage) -> None:
    # R9: b queues just as the lock becomes free, and its own look at the head (R8) grants it the lock.
    fine.do("a", "down_write")
    fine.start("b", "down_read")
    fine.until("b", "rmw x.count")
    fine.step("b")
    fine.until("b", "rmw x.count")  # R6, which reads the count
    fine.step("b")  # R7 is next: the queue is not empty for others yet
    fine.do("a", "up_write")
    assert fine.go("b") is None
    assert fine.mentions("b") == ["LockRequest r", "Contended r", "Lock r"]
    assert paths(fine).sleep_reader == 0


def test_c11_a_cancelled_waiter_never_logs_the_lock(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("b", "down_read_killable")
    stage.engine.signal(stage.task("b"))
    assert stage.go("b") == -EINTR
    assert stage.mentions("b") == ["LockRequest r", "Contended r"]
    assert paths(stage).rlock_fail == 1
    assert not stage.lock.statistics().waiters


def test_trylocks_log_only_success(stage: Stage) -> None:
    stage.do("a", "down_write_trylock")
    stage.do("b", "down_read_trylock")
    assert stage.mentions("a") == ["Lock w"]
    assert stage.mentions("b") == []


def test_a_downgrade_is_logged_without_a_gap(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("a", "downgrade_write")
    stage.do("a", "up_read")
    assert stage.mentions("a") == ["LockRequest w", "Lock w", "Unlock w", "Lock r", "Unlock r"]


def test_c12_the_head_does_not_sleep_in_the_middle_of_a_release(fine: Stage) -> None:
    fine.do("a", "down_write")
    fine.answers["rwsem.deadline"] = 1
    fine.start("w", "down_write")
    fine.until("w", "release x.wait_lock")  # W8: w is the head, and HANDOFF is set for it
    fine.step("w")
    fine.start("a", "up_write")
    fine.step("a")
    fine.step("a")
    assert fine.lock.owner is None
    assert fine.lock.count & 1
    assert fine.go("w") is BLOCKED
    assert paths(fine).sleep_writer == 0
    # It spins rather than sleeps, so the count alone brings it back; nobody sends a wake-up.
    fine.step("a")
    assert fine.go("w") is None
    assert paths(fine).sleep_writer == 0
    assert fine.go("a") is None


def test_c13_a_signal_after_the_grant_does_not_cancel(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("b", "down_read_killable")
    stage.do("a", "up_write")
    stage.engine.signal(stage.task("b"))
    assert stage.go("b") == 0
    assert stage.task("b").signal_pending


def test_c13_a_grant_after_the_signal_wins_if_it_locks_the_queue_first(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("b", "down_read_killable")
    stage.engine.signal(stage.task("b"))
    stage.step("b")
    stage.do("a", "up_write")
    assert stage.go("b") == 0


def test_a_writer_is_killed_only_if_it_fails_once_more(stage: Stage) -> None:
    stage.do("a", "down_write")
    stage.do("w", "down_write_killable")
    stage.engine.signal(stage.task("w"))
    stage.do("a", "up_write")
    assert stage.go("w") == 0  # W9 comes before the look at the signal
    stage.do("w", "up_write")
    assert stage.do("w", "down_write_killable") == 0  # so does W1


def test_a_signal_ends_a_killable_spin(stage: Stage) -> None:
    stage.answers["rwsem.spin"] = 1
    stage.do("a", "down_write")
    assert stage.do("s", "down_write_killable") is BLOCKED
    stage.engine.signal(stage.task("s"))
    assert stage.go("s") == -EINTR
    assert paths(stage).opt_fail == 1


def test_an_orphaned_hand_off_serves_the_next_writer(stage: Stage) -> None:
    stage.do("a", "down_read")
    stage.answers["rwsem.deadline"] = 1
    stage.do("v", "down_write_killable")
    stage.answers["rwsem.deadline"] = 0
    stage.do("w", "down_write")
    stage.engine.signal(stage.task("v"))
    assert stage.go("v") == -EINTR
    stage.do("a", "up_read")
    # HANDOFF is left and belongs to nobody: no thief, but any queued writer.
    assert stage.do("b", "down_read") is BLOCKED
    assert stage.go("w") is None
    stage.do("w", "up_write")
    assert stage.go("b") is None


def test_an_orphaned_hand_off_serves_a_writer_that_is_not_the_head(stage: Stage) -> None:
    stage.do("a", "down_read")
    stage.answers["rwsem.deadline"] = 1
    stage.do("v", "down_write_killable")
    stage.answers["rwsem.deadline"] = 0
    stage.do("u", "down_write")
    stage.engine.signal(stage.task("v"))
    stage.go("v")
    stage.do("a", "up_read")
    # u is the head and on its way; w queues behind it, tries once (W7) and need not yield.
    assert stage.do("w", "down_write") is None
    assert stage.go("u") is BLOCKED


def test_a_barging_writer_makes_the_reader_at_the_head_ask_for_a_hand_off(stage: Stage) -> None:
    stage.answers["rwsem.spin"] = 1
    stage.do("a", "down_write")
    assert stage.do("s", "down_write") is BLOCKED
    assert stage.do("b", "down_read") is BLOCKED
    stage.answers["rwsem.deadline"] = 1
    stage.start("a", "up_write")
    if hasattr(stage.lock, "wait_lock"):
        # M3: the spinner slips in between the release of the count and the wake-up.
        stage.until("a", "acquire x.wait_lock")
        assert stage.go("s") is None
    stage.go("a")
    assert stage.go("s") is None
    assert stage.go("b") is BLOCKED
    assert paths(stage).rlock_handoff == 1
    stage.do("s", "up_write")
    assert stage.go("b") is None


def test_misuse_is_an_error(stage: Stage) -> None:
    with pytest.raises(ModelError, match="a read-unlocks x"):
        stage.do("a", "up_read")
    stage.do("b", "down_read")
    with pytest.raises(ModelError, match="c write-unlocks x, held by b"):
        stage.do("c", "up_write")
    with pytest.raises(ModelError, match="d write-unlocks x"):
        stage.do("d", "downgrade_write")


def test_the_lock_can_be_looked_at(stage: Stage) -> None:
    lock = stage.lock
    assert not lock.is_locked()
    stage.do("a", "down_write")
    assert lock.is_locked()
    assert lock.write_held(stage.task("a"))
    assert tuple(lock.holders()) == ("a",)
    stage.do("w", "down_write")
    stage.do("a", "up_write")
    assert lock.is_locked()  # held by nobody, but queued for
    assert tuple(lock.holders()) == ()
    statistics = lock.statistics()
    assert statistics.waiters == ("w",)
    with pytest.raises(AttributeError):
        statistics.waiters = ()
    with pytest.raises(AttributeError):
        statistics.paths.wlock = 1
