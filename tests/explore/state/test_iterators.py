"""Iterators in suspended coroutines stand where they stood, and none of them is taken for two."""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from functools import partial
from itertools import count, pairwise, repeat
from typing import TYPE_CHECKING, Any

import pytest
from tests.explore.state.test_live import rerun, searched

from gmemsim.engine.cell import Cell
from gmemsim.engine.op import Op
from gmemsim.explore import search as searching
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.state import supported
from gmemsim.explore.state.iterators import NotRestorable, copied, must_be_apart, walked
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.matrix import cells
from gmemsim.studies.operations import scenario_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

needs_frames = pytest.mark.skipif(not supported(), reason="coroutines cannot be put back on this interpreter")

_STEP = Op("step", "x")


@pytest.fixture(autouse=True)
def without_the_sample(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is made anew would show most of this by its end: here each has to be right, or refused, by itself."""
    if "ends" not in request.node.name:
        monkeypatch.setattr(searching, "_must_end_again", lambda *_: None)


ALONE: dict[str, Callable[[], Iterator[Any]]] = {
    "list": lambda: iter([1, 2, 3]),
    "tuple": lambda: iter((1, 2, 3)),
    "range": lambda: iter(range(3)),
    "reversed list": lambda: reversed([1, 2, 3]),
    "reversed tuple": lambda: reversed((1, 2, 3)),
    "enumerate": lambda: enumerate([4, 5, 6], 7),
    "zip": lambda: zip([1, 2, 3], (4, 5, 6), strict=False),
    "strict zip": lambda: zip([1, 2, 3], range(3), strict=True),
    "both": lambda: enumerate(zip("abc", reversed([1, 2, 3]), strict=False)),
}


def _between() -> Iterator[Any]:
    one = iter([1, 2, 3, 4])
    return zip(one, one, strict=False)


#: Over one that cannot be copied, or that two go on with.
REFUSED: dict[str, Callable[[], Iterator[Any]]] = {
    "over a dict": lambda: enumerate({1: 2, 3: 4}),
    "over a generator": lambda: enumerate(one for one in (1, 2, 3)),
    "the same twice": _between,
}


@pytest.mark.parametrize("kind", ALONE)
def test_a_copy_goes_on_from_there(kind: str) -> None:
    for steps in range(4):
        one, rest = ALONE[kind](), list(ALONE[kind]())[steps:]
        for _ in range(steps):
            next(one)
        other = copied(one)
        assert type(other) is type(one)
        assert (list(other), list(one)) == (rest, rest)
        assert list(copied(one)) == []


def test_a_strict_zip_stays_one() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(copied(zip([1], [2, 3], strict=True)))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_go_on_alone_is_refused(kind: str) -> None:
    with pytest.raises(NotRestorable):
        must_be_apart(walked(REFUSED[kind]()))


def program(walk: Callable[[], Iterator[Any]], passed_on: bool) -> TaskProgram:
    """Two tasks that write what they walk over; one may hand its iterator on to another coroutine."""

    def setup(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)
        seen: list[object] = []

        async def one_more(t: Task, rest: Iterator[Any]) -> None:
            for item in rest:
                await cell.store(t, hash(item) % 5)
                return

        async def body(t: Task) -> None:
            iterator = walk()
            for item in iterator:
                seen.append(await cell.load(t))
                await cell.store(t, hash(item) % 7)
                if passed_on:
                    await one_more(t, iterator)

        for name in ("t0", "t1"):
            engine.spawn(name, body)
        return lambda: (seen, cell.value)

    return TaskProgram("walks", setup)


@needs_frames
@pytest.mark.parametrize("passed_on", [False, True])
@pytest.mark.parametrize("kind", [*ALONE, *REFUSED])
def test_searches_come_to_the_same(kind: str, passed_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    walks = program({**ALONE, **REFUSED}[kind], passed_on)
    limits = Limits(schedules=150)
    assert searched(walks, limits) == rerun(monkeypatch, walks, limits)
    strategy = Stateful()
    search(walks, strategy, limits)
    assert strategy.restores == (kind in ALONE and not passed_on)


@needs_frames
@pytest.mark.parametrize("backwards", [False, True])
def test_a_list_that_was_emptied_has_its_items_again_first(
    backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def setup(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)
        seen: list[object] = []

        async def body(t: Task, items: list[int]) -> None:
            for item in reversed(items) if backwards else items:
                seen.append(item)
                await cell.rmw(t, lambda value: value * 3 % 7 + item)  # noqa: B023 # called at once
            items.clear()

        for number in range(2):
            engine.spawn(f"t{number}", body, [number, 2, 4])
        return lambda: (seen, cell.value)

    emptied = TaskProgram("emptied", setup)
    assert searched(emptied, Limits()) == rerun(monkeypatch, emptied, Limits())
    strategy = Stateful()
    search(emptied, strategy, Limits())
    assert strategy.restores


@needs_frames
@pytest.mark.parametrize(
    ("names", "arch", "setup"),
    [
        (("touch neighbour", "split"), "snp", "used"),
        (("split", "merge"), "sw-protected", "shared"),
        (("punch page", "merge"), "tdx", "used"),
    ],
)
def test_huge_pages_are_put_back(
    names: tuple[str, str], arch: str, setup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = (
        one
        for one in cells("hugepage", 2)
        if one.huge and (tuple(one.names), one.arch, one.setup) == (names, arch, setup)
    )
    scenario = loads(scenario_text(cell), "cell.toml")
    program = ScenarioProgram(scenario=scenario, patch="hugepage", arch=arch, small=False)
    limits = Limits(states=300)
    assert searched(program, limits) == rerun(monkeypatch, program, limits)
    strategy = Stateful()
    search(program, strategy, limits, keep_going=True)
    assert strategy.restores
    assert strategy.states > 100


class Private:
    """With a slot whose name Python changes."""

    __slots__ = ("__count",)

    def __init__(self) -> None:
        self.__count = 0

    def more(self) -> int:
        self.__count += 1
        return self.__count


class Refuses:
    """Cannot be looked at."""

    def __init__(self) -> None:
        self.value = [1]

    def __eq__(self, other: object) -> bool:
        raise KeyError("not to be compared")

    __hash__ = None  # type: ignore[assignment] # as of whatever has an `__eq__`


async def _ended_generator(t: Task, say: Callable[[object], None]) -> None:
    def numbers() -> Iterator[int]:
        held = bytearray(100_000)
        yield len(held)

    generator = numbers()
    for number in generator:
        say(number)
    await t.point(_STEP)
    say(next(generator, "none"))


async def _finite_repeat(t: Task, say: Callable[[object], None]) -> None:
    for _ in repeat(None, 2):
        await t.point(_STEP)
        say("again")


async def _beyond_its_list(t: Task, say: Callable[[object], None]) -> None:
    numbers = [1, 2, 3]
    for number in numbers:
        say(number)
        if number == 2:
            numbers.clear()
            await t.point(_STEP)
            numbers += [5, 6, 7]
        await t.point(_STEP)


async def _private_slot(t: Task, say: Callable[[object], None]) -> None:
    mine = Private()
    for _ in range(2):
        await t.point(_STEP)
        say(mine.more())


async def _not_to_be_looked_at(t: Task, say: Callable[[object], None]) -> None:
    mine = [Refuses()]
    await t.point(_STEP)
    mine[0] = Refuses()
    await t.point(_STEP)
    say(len(mine))


async def _async_context(t: Task, say: Callable[[object], None]) -> None:
    @asynccontextmanager
    async def within() -> AsyncIterator[None]:
        await t.point(_STEP)
        yield
        await t.point(_STEP)

    async with within():
        await t.point(_STEP)
        say("within")


async def _no_copy_of_it(t: Task, say: Callable[[object], None]) -> None:
    for pair in pairwise([1, 2, 3]):
        await t.point(_STEP)
        say(pair)


class _Unreadable(list[int]):
    def __iter__(self) -> Iterator[int]:
        raise KeyError("nobody may walk it")


async def _not_to_be_walked(t: Task, say: Callable[[object], None]) -> None:
    mine = _Unreadable([1])
    walk = list.__iter__(mine)
    await t.point(_STEP)
    say(next(walk))
    await t.point(_STEP)


async def _awaits_in_the_end(t: Task, say: Callable[[object], None]) -> None:
    try:
        for _ in {1: 2}.items():  # cannot be put back, so that runs are cut and ended
            await t.point(_STEP)
    finally:
        await t.point(_STEP)
        await t.point(_STEP)
        say("end")


BODIES = [
    _ended_generator, _finite_repeat, _beyond_its_list, _private_slot, _not_to_be_looked_at,
    _async_context, _awaits_in_the_end, _no_copy_of_it, _not_to_be_walked,
]  # fmt: skip


@needs_frames
@pytest.mark.parametrize("body", BODIES)
def test_what_a_patch_may_hold_over_a_step(body: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def setup(engine: Engine) -> Callable[[], object]:
        seen: list[object] = []
        for name in ("a", "b"):
            engine.spawn(name, body, partial(_say, seen, name))
        return lambda: seen

    held = TaskProgram("held", setup)
    found = searched(held, Limits(schedules=300))
    assert found == rerun(monkeypatch, held, Limits(schedules=300))
    assert not found[-1]


def _say(seen: list[object], name: str, what: object) -> None:
    seen.append((name, what))


@needs_frames
@pytest.mark.parametrize("where", ["function", "factory", "bound method", "number"])
def test_what_nobody_looks_into_is_noticed_by_how_a_run_ends(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Number(int):
        n = 0

    def setup(engine: Engine) -> Callable[[], object]:
        seen: list[object] = []

        def more() -> int:
            more.n += 1  # type: ignore[attr-defined] # a function has whatever attributes one gives it
            return int(more.n)  # type: ignore[attr-defined] # as above

        more.n = 0  # type: ignore[attr-defined] # as above
        table: defaultdict[int, int] = defaultdict(count().__next__)
        push = list[int]([0]).append
        number = Number(3)

        def one_more() -> int:
            if where == "function":
                return more()
            if where == "factory":
                return table[len(table)]
            if where == "bound method":
                push(0)
                return len(push.__self__)  # type: ignore[attr-defined] # the list
            number.n += 1
            return number.n

        async def body(t: Task) -> None:
            for _ in range(2):
                await t.point(_STEP)
                seen.append((t.name, one_more()))

        for name in ("a", "b"):
            engine.spawn(name, body)
        return lambda: seen

    hidden = TaskProgram("hidden", setup)
    assert searched(hidden, Limits()) == rerun(monkeypatch, hidden, Limits())


@needs_frames
def test_a_generator_that_is_left_behind_runs_no_finally(monkeypatch: pytest.MonkeyPatch) -> None:
    def setup(engine: Engine) -> Callable[[], object]:
        seen: list[object] = []
        within = [0]
        engine.roots.append(within)

        def counted() -> Iterator[int]:
            within[0] += 1
            try:
                yield within[0]
            finally:
                within[0] -= 1

        async def body(t: Task) -> None:
            for number in counted():
                await t.point(_STEP)
                seen.append((t.name, number, within[0]))
            await t.point(_STEP)

        for name in ("a", "b"):
            engine.spawn(name, body)
        return lambda: (seen, within)

    leaves = TaskProgram("leaves", setup)
    assert searched(leaves, Limits()) == rerun(monkeypatch, leaves, Limits())
    strategy = Stateful()
    search(leaves, strategy, Limits())
    assert strategy.restores


@needs_frames
def test_one_generator_that_two_tasks_go_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def setup(engine: Engine) -> Callable[[], object]:
        seen: list[object] = []

        async def body(t: Task, numbers: Iterator[int]) -> None:
            for number in numbers:
                await t.point(_STEP)
                seen.append((t.name, number))

        def numbers() -> Iterator[int]:
            number = 0
            while number < 3:
                yield number
                number += 1

        shared = numbers()
        for name in ("a", "b"):
            engine.spawn(name, body, shared)
        return lambda: seen

    shares = TaskProgram("shares", setup)
    assert searched(shares, Limits()) == rerun(monkeypatch, shares, Limits())
    strategy = Stateful()
    search(shares, strategy, Limits())
    assert not strategy.restores
