"""A user's code that asks for what a search does not have is refused before it runs."""

from __future__ import annotations

import time
from time import perf_counter
from typing import Any

import pytest

from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.program import ScenarioProgram
from gmemsim.extend import Oracle
from gmemsim.patches.no_state import check_reads
from gmemsim.patches.user_file import PatchError
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.session import build


class TimesOut(V3):
    """Gives up after a while."""

    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        until = t.engine.now + 1_000
        while not await file.inode.invalidate_lock.down_write_trylock(t):
            if t.engine.now > until:
                return -11
            await t.sleep(100)
        await file.inode.invalidate_lock.up_write(t)
        return await super().kvm_gmem_fallocate(t, file, *args, **options)


class CountsSteps(V3):
    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        return -11 if t.steps > 5 else await super().kvm_gmem_fallocate(t, file, *args, **options)


class Adapts(V3):
    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        if contended(file):
            return -11
        return await super().kvm_gmem_fallocate(t, file, *args, **options)


def contended(file: Any) -> bool:
    return bool(file.inode.invalidate_lock.statistics().write.contentions)


class Late(V3):
    """Under another name, in a function within one."""

    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        machine = t.engine

        def late() -> bool:
            return bool(machine.now)

        return -11 if late() else await super().kvm_gmem_fallocate(t, file, *args, **options)


class Own(V3):
    """What it counts is its own, and a time-out is a draw."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.steps = self.contentions = self.now = 0

    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        self.steps += 1
        self.contentions += self.steps + self.now
        if t.draw("own.timeout", 2):
            return -11
        self.contentions += getattr(self, "steps", 0)
        t.engine.wake  # noqa: B018 # the engine is known here, and is not asked for its clock
        return await super().kvm_gmem_fallocate(t, file, *args, **options)


class ByText(V3):
    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        late = getattr(t.engine, "now") > 5  # noqa: B009 # what goes round the names
        return -11 if late else await super().kvm_gmem_fallocate(t, file, *args, **options)


class OfTheHost(V3):
    until = 0.0

    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        late = time.monotonic() > self.until
        return -11 if late else await super().kvm_gmem_fallocate(t, file, *args, **options)


class Imported(V3):
    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        late = perf_counter() > 5
        return -11 if late else await super().kvm_gmem_fallocate(t, file, *args, **options)


class OfTheDay(V3):
    async def kvm_gmem_fallocate(self, t: Any, file: Any, *args: Any, **options: Any) -> Any:
        late = time.time() > 5
        return -11 if late else await super().kvm_gmem_fallocate(t, file, *args, **options)


class LooksAtTheClock(Oracle):
    def __init__(self, oracles: Any) -> None:
        super().__init__(oracles)
        self.began = oracles.engine.now


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (TimesOut, "now"),
        (CountsSteps, "steps"),
        (Adapts, "statistics"),
        (Late, "now"),
        (LooksAtTheClock, "now"),
        (ByText, "now"),
        (OfTheHost, "monotonic"),
        (Imported, "perf_counter"),
        (OfTheDay, "time.time"),
    ],
)
def test_a_clock_or_counter_is_refused_with_its_place(cls: type, name: str) -> None:
    with pytest.raises(PatchError, match=rf"test_no_state\.py:\d+: `{name}` "):
        check_reads([cls])


def test_what_is_the_users_own_is_not() -> None:
    check_reads([Own, V3])


def test_a_search_refuses_it_and_a_timed_run_does_not() -> None:
    scenario = load_named("punchonly")
    with pytest.raises(PatchError, match="`now` of the engine"):
        run_campaign(Campaign(program=ScenarioProgram(scenario=scenario, patch=TimesOut)))
    assert not build(scenario, TimesOut, small=True).run().violations
