"""State that announces its accesses: to who asks, once a step is under way, and not what others look at meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.observed import announces, by_key
from gmemsim.engine.observed_containers import STEP
from gmemsim.engine.op import ALL, Op
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.dpor import Dpor
from gmemsim.patches.outlives import Held
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemInode
    from gmemsim.engine.task import Task


@announces(value=lambda word: (word.label, 0, ALL))
class Word:
    __slots__ = ("label", "value")

    def __init__(self, label: str, value: int) -> None:
        self.label = label
        self.value = value


@announces(value=lambda word: (word.label, 0, ALL))
class Open:
    """The same with a `__dict__`."""

    def __init__(self, label: str, value: int) -> None:
        self.label = label
        self.value = value


def footprints(body: Callable[[Task], Any], rec: Callable[[Task, Any], None] | None = None) -> list[Op]:
    """What the only step of a task that runs `body` touched."""
    touched: list[Op] = []
    engine = Engine(exploring=True, rec=rec)
    engine.ask_touched(touched)
    engine.watch_steps(lambda _: touched.clear())

    async def run(t: Task) -> None:
        body(t)

    engine.spawn("one", run)
    bare.run(engine)
    assert STEP.touched is None
    return [op for op in touched if op.obj != "one"]


def test_reads_and_writes_are_announced() -> None:
    for word in (Word("word", 3), Open("word", 3)):

        def body(t: Task, word: Word | Open = word) -> None:
            word.value += 1

        assert footprints(body) == [Op("load", "word", mode="r"), Op("rmw", "word")]
        assert word.value == 4


def test_an_object_that_is_being_made_is_nobody_elses() -> None:
    assert footprints(lambda t: Word("new", 1)) == []
    assert footprints(lambda t: Open("new", 1)) == []


def test_what_a_recorder_looks_at_is_not_touched_by_the_step() -> None:
    word = Word("word", 1)

    def body(t: Task) -> None:
        assert t.rec is not None
        t.rec(t, "event")

    def rec(t: Task, event: Any) -> None:
        assert word.value == 1

    assert footprints(body, rec) == []


def test_a_step_that_says_nothing_of_what_it_reads_is_still_reduced_rightly() -> None:
    """Two tasks race on a word that neither names: reduction has to see both orders."""

    def setup(engine: Engine) -> Callable[[], object]:
        word = Word("word", 0)
        seen: list[int] = []

        async def writer(t: Task) -> None:
            await t.point(Op("step", "w"))
            word.value = 1

        async def reader(t: Task) -> None:
            await t.point(Op("step", "r"))
            seen.append(word.value)

        engine.spawn("writer", writer)
        engine.spawn("reader", reader)
        return lambda: tuple(seen)

    program = TaskProgram("quiet", setup)
    plain, reduced = (
        search(program, strategy, Limits(schedules=100), collect_outcomes=True)
        for strategy in (DepthFirst(), Dpor())
    )
    assert plain.complete
    assert reduced.complete
    assert set(plain.outcomes) == set(reduced.outcomes) == {"(0,)", "(1,)"}


class Looks(V3):
    """A patch that reads PG_uptodate and tells nobody."""

    async def kvm_gmem_clear_once(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, inode, folio)


def test_a_patch_cannot_forget_what_it_reads() -> None:
    """The step in which the patch looks has PG_uptodate in its footprint."""
    run = ScenarioProgram(scenario=load_named("same"), patch=Looks, rules=frozenset()).build(FirstRunnable())
    seen: set[str] = set()
    touched: list[Op] = []
    run.engine.ask_touched(touched)

    def look(task: Task) -> None:
        seen.update(op.obj for op in touched if op.mode == "r")
        touched.clear()

    run.engine.watch_steps(look)
    run.run()
    assert "gmem0.uptodate" in seen
    # The check of the pointer in __kvm_gmem_get_pfn was a line that had been forgotten.
    assert "slot0.file" in seen


@announces(seen=by_key(lambda kernel: "seen"))
class Counts(V3):
    """A patch with state of its own, which says nothing of it where it is used."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: dict[int, int] = {}

    async def kvm_gmem_clear_once(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        self.seen[folio.index] = self.seen.get(folio.index, 0) + 1
        await super().kvm_gmem_clear_once(t, inode, folio)


def test_state_of_a_patch_announces_itself_and_does_not_outlive_the_run() -> None:
    before = Held(Counts)
    run = ScenarioProgram(scenario=load_named("same"), patch=Counts, rules=frozenset()).build(FirstRunnable())
    seen: set[Op] = set()
    touched: list[Op] = []
    run.engine.ask_touched(touched)
    run.engine.watch_steps(lambda task: seen.update(touched))
    run.run()
    assert Op("rmw", "seen", 0, 1) in seen
    assert before.changed() == ""
