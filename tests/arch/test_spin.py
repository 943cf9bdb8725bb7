"""Try-locks and spinning: nobody queues, and a spin always lets time or others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.arch.spin import SpinWait, TryLock
from gmemsim.engine.errors import Deadlock, ModelError
from gmemsim.engine.strategy import FirstRunnable

if TYPE_CHECKING:
    from tests.arch.conftest import Body, Runner

    from gmemsim.engine.task import Task


@pytest.mark.parametrize(("ns", "later"), [(0, 1), (7, 7)])
def test_a_turn_takes_time_even_when_it_is_free(run: Runner, ns: int, later: int) -> None:
    """Otherwise a spin in a run without costs would never let a later event come."""
    wait = SpinWait("x")

    async def body(t: Task) -> int:
        await wait.turn(t, ns)
        return t.engine.now

    assert run(body).results == [later]


def test_a_spin_under_the_dullest_schedule_ends(run: Runner) -> None:
    """Exploring, and always going on with the same task: the spinner still lets the holder run."""
    lock = TryLock("x")

    async def spinner(t: Task) -> int:
        turns = 0
        while not await lock.try_lock(t, True):
            turns += 1
            await lock.wait.turn(t, 1)
        return turns

    async def holder(t: Task) -> None:
        await lock.unlock(t, False)

    lock.sharers = 1
    outcome = run(spinner, holder, strategy=FirstRunnable())
    assert outcome.results == [1, None]


def test_a_spin_that_nothing_ends_is_a_deadlock_on_its_label(run: Runner) -> None:
    wait = SpinWait("x.spin", lambda: ("somebody",))

    async def body(t: Task) -> None:
        await wait.turn(t, 1)

    with pytest.raises(Deadlock, match=r"t0 waits for x\.spin held by somebody"):
        run(body, strategy=FirstRunnable())


def attempts(first: bool, second: bool) -> tuple[Body, ...]:
    lock = TryLock("x")

    def attempt(exclusive: bool) -> Body:
        async def body(t: Task) -> bool:
            return await lock.try_lock(t, exclusive)

        return body

    return attempt(first), attempt(second)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(False, False, True), (False, True, False), (True, False, False), (True, True, False)],
)
def test_modes(run: Runner, first: bool, second: bool, both: bool) -> None:
    """Shared with shared only; whoever is second gets his answer without waiting."""
    assert run(*attempts(first, second)).results == [True, both]


@pytest.mark.parametrize("exclusive", [True, False])
def test_unlock_of_what_is_not_held(run: Runner, exclusive: bool) -> None:
    lock = TryLock("x")

    async def body(t: Task) -> None:
        await lock.unlock(t, exclusive)

    with pytest.raises(ModelError):
        run(body)
