"""What locks tell: each operation begins with a trap, and has the events that oracles and logs live on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.locks.stage import BLOCKED, Stage

from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.spinlock import QueuedRwLock, SpinLock
from gmemsim.engine.op import Op

#: Operations of a read/write lock, each as it comes, with the events of one that nobody contends.
RW_LOCK = {
    "down_read": "LockRequest r, Lock r",
    "up_read": "Unlock r",
    "down_write": "LockRequest w, Lock w",
    "up_write": "Unlock w",
    "down_read_killable": "LockRequest r, Lock r",
    " up_read": "Unlock r",
    "down_write_killable": "LockRequest w, Lock w",
    "downgrade_write": "Unlock w, Lock r",
    "  up_read": "Unlock r",
    "down_read_trylock": "Lock r",
    "   up_read": "Unlock r",
    "down_write_trylock": "Lock w",
    " up_write": "Unlock w",
}
MUTEX = {"lock": "Lock w", "unlock": "Unlock w", "trylock": "Lock w", " unlock": "Unlock w"}
SPINS = {"lock": "Lock w", "unlock": "Unlock w"}
SPINNING = {
    "read_lock": "Lock r",
    "read_unlock": "Unlock r",
    "write_lock": "Lock w",
    "write_unlock": "Unlock w",
}
OTHERS: dict[str, tuple[Any, dict[str, str]]] = {
    "mutex": (Mutex, MUTEX),
    "folio": (lambda label: FolioLock(label, 0, FolioLockClass(label)), MUTEX),
    "spin": (SpinLock, SPINS),
    "queued": (QueuedRwLock, SPINNING),
}
#: Their writers wait for readers whatever the state, so they never try.
NEVER = ["percpu", "srcu"]
LOCKS = {name: (policy, RW_LOCK) for name, policy in LOCK_POLICIES.items() if policy.excludes} | OTHERS


@pytest.mark.parametrize("name", LOCKS)
def test_an_operation_that_nobody_contends(name: str) -> None:
    make, calls = LOCKS[name]
    stage = Stage(make)
    told = {}
    if name in NEVER:
        calls = dict(list(calls.items())[:-2])
        # Such a writer always waits, for a grace period.
        calls |= dict.fromkeys(["down_write", "down_write_killable"], "LockRequest w, Contended w, Lock w")
    for call in calls:
        before = len(stage.events)
        stage.start("a", call.strip())
        assert " x" in stage.step("a"), f"{call} begins without a trap"
        assert stage.go("a") in (None, 0, True)
        told[call] = ", ".join(stage.mentions("a")[before:])
    stage.close()
    assert told == calls


@pytest.mark.parametrize("name", NEVER)
def test_a_writer_that_never_tries(name: str) -> None:
    stage = Stage(LOCK_POLICIES[name])
    stage.start("a", "down_write_trylock")
    assert " x" in stage.step("a")
    assert stage.go("a") is False
    assert stage.mentions("a") == []
    stage.close()


@pytest.mark.parametrize("mode", ["r", "w"])
@pytest.mark.parametrize("killable", ["", "_killable"])
@pytest.mark.parametrize("name", [name for name, (_, calls) in LOCKS.items() if calls is RW_LOCK])
def test_one_that_has_to_wait(name: str, killable: str, mode: str) -> None:
    stage = Stage(LOCKS[name][0])
    stage.do("a", "down_write")
    assert stage.do("b", ("down_read" if mode == "r" else "down_write") + killable) is BLOCKED
    told = ["LockRequest", "Contended", "Lock"]
    assert stage.mentions("b") == [f"{event} {mode}" for event in told[:2]]
    stage.do("a", "up_write")
    assert stage.go("b") in (None, 0)
    assert stage.mentions("b") == [f"{event} {mode}" for event in told]
    stage.close()


@pytest.mark.parametrize(
    ("name", "down", "up", "mode"),
    [
        ("mutex", "lock", "unlock", "w"),
        ("folio", "lock", "unlock", "w"),
        ("spin", "lock", "unlock", "w"),
        ("queued", "write_lock", "write_unlock", "w"),
        ("queued", "read_lock", "write_unlock", "r"),
    ],
)
def test_another_lock_that_has_to_wait(name: str, down: str, up: str, mode: str) -> None:
    stage = Stage(LOCKS[name][0])
    stage.do("a", down.replace("read", "write"))
    assert stage.do("b", down) is BLOCKED
    assert stage.mentions("b") == [f"Contended {mode}"]
    stage.do("a", up)
    stage.go("b")
    assert stage.mentions("b") == [f"Contended {mode}", f"Lock {mode}"]
    stage.close()


def test_a_writer_looks_at_the_lock_again_after_its_grace_period() -> None:
    """In a step that is announced as something else."""
    stage = Stage(LOCK_POLICIES["percpu"])
    touched: list[Op] = []
    stage.engine.ask_touched(touched)
    stage.do("a", "down_write")
    assert Op("acquire", "x") in touched
    stage.close()


@pytest.mark.parametrize(
    ("first", "second", "last"),
    [("write_lock", "read_lock", ""), ("read_lock", "write_lock", "read_unlock")],
    ids=["a reader queues", "a reader lets the queue go on"],
)
def test_a_reader_that_does_not_commute_says_so(first: str, second: str, last: str) -> None:
    """What it announced is a read, as of a reader that is let in."""
    stage = Stage(QueuedRwLock)
    touched: list[Op] = []
    stage.engine.ask_touched(touched)
    stage.do("a", first)
    assert Op("wait", "x") not in touched
    assert stage.do("b", second) is BLOCKED
    if last:
        touched.clear()
        stage.do("a", last)
    assert Op("wait", "x") in touched
    if not last:
        stage.do("a", "write_unlock")
    stage.go("b")
    stage.close()


def test_the_last_reader_hands_the_lock_on() -> None:
    """Its release looks like that of any reader."""
    stage = Stage(LOCK_POLICIES["rwsem"])
    touched: list[Op] = []
    stage.engine.ask_touched(touched)
    stage.do("a", "down_read")
    assert stage.do("b", "down_write") is BLOCKED
    touched.clear()
    stage.do("a", "up_read")
    assert Op("release", "x") in touched
    stage.go("b")
    stage.close()
