"""Recorder: what arrives at `rec` is what comes out, in order, whatever happens to the run."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import Any

import pytest

from gmemsim.audit.kvm_events import GetFolio, GetPfn, GetPfnRet
from gmemsim.audit.recorder import Entry, Recorder, fan_out
from gmemsim.engine.bare import run
from gmemsim.engine.engine import Engine
from gmemsim.engine.task import Task


@dataclass
class Clock:
    now: int = 0


@dataclass
class Actor:
    name: str = "vcpu0"
    engine: Clock = field(default_factory=Clock)


def feed(recorder: Recorder, count: int, start: int = 0) -> list[Entry]:
    """Record `count` events, a nanosecond apart; what should come out."""
    clock = Clock()
    actors = [Actor("vcpu0", clock), Actor("vcpu1", clock)]
    expected: list[Entry] = []
    for number in range(start, start + count):
        clock.now = number
        actor = actors[number % 2]
        event = GetFolio(number)
        recorder.rec(actor, event)
        expected.append((number, actor.name, event))
    return expected


def test_entries_keep_time_actor_event_and_order() -> None:
    recorder = Recorder()
    expected = feed(recorder, 5)
    assert list(recorder) == expected
    assert list(recorder) == expected, "iterating does not use it up"
    assert len(recorder) == 5


def test_recording_leaves_nothing_for_the_garbage_collector() -> None:
    recorder = Recorder()
    gc.collect()
    before = len(gc.get_objects())
    feed_only(recorder, 1000)
    assert len(gc.get_objects()) - before < 100


def feed_only(recorder: Recorder, count: int) -> None:
    actor = Actor()
    for number in range(count):
        recorder.rec(actor, GetFolio(number))


def test_counts_by_name_in_alphabetical_order() -> None:
    recorder = Recorder()
    for event in (GetPfnRet(0, 1), GetPfn(1, 1), GetFolio(1), GetPfn(2, 2)):
        recorder.rec(Actor(), event)
    assert list(recorder.counts().items()) == [("get_folio", 1), ("get_pfn", 2), ("get_pfn_ret", 1)]


def test_streaming_hands_over_batches_and_the_rest_on_the_way_out() -> None:
    batches: list[list[Entry]] = []
    with Recorder(batches.append, every=4) as recorder:
        expected = feed(recorder, 10)
        assert [len(batch) for batch in batches] == [4, 4]
        assert list(recorder) == expected[8:]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [entry for batch in batches for entry in batch] == expected
    assert len(recorder) == 10
    assert recorder.counts() == {"get_folio": 10}


def test_counts_of_a_streaming_recorder_cover_both_sides_of_the_flush() -> None:
    recorder = Recorder(lambda batch: None, every=4)
    feed(recorder, 6)
    assert recorder.counts() == {"get_folio": 6}


def test_the_tail_survives_an_exception() -> None:
    seen: list[Entry] = []
    expected: list[Entry] = []

    def crash() -> None:
        with Recorder(seen.extend, every=100) as recorder:
            expected.extend(feed(recorder, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert seen == expected


def test_a_failing_sink_gets_each_entry_once() -> None:
    seen: list[Entry] = []

    def sink(batch: list[Entry]) -> None:
        seen.extend(batch)
        raise OSError("full")

    def fill() -> None:
        with Recorder(sink, every=2) as recorder:
            feed(recorder, 4)

    with pytest.raises(OSError, match="full"):
        fill()
    assert len(seen) == 2


def test_a_batch_holds_at_least_one_event() -> None:
    with pytest.raises(ValueError, match="every: expected 1 or more"):
        Recorder(print, every=0)


def test_fan_out_passes_to_all_in_order() -> None:
    for width in range(1, 5):
        seen: list[tuple[int, str, Any]] = []

        def taker(number: int, seen: list[tuple[int, str, Any]] = seen) -> Any:
            return lambda task, event: seen.append((number, task.name, event))

        both = fan_out(None, *(taker(number) for number in range(width)), None)
        assert both is not None
        both(Actor(), GetFolio(7))
        assert seen == [(number, "vcpu0", GetFolio(7)) for number in range(width)]


def test_fan_out_of_nothing_switches_recording_off() -> None:
    assert fan_out() is None
    assert fan_out(None, None) is None


def test_a_checker_that_objects_leaves_the_event_in_the_log() -> None:
    recorder = Recorder()

    def checker(task: Any, event: Any) -> None:
        raise AssertionError("stale")

    both = fan_out(recorder.rec, checker)
    assert both is not None
    with pytest.raises(AssertionError, match="stale"):
        both(Actor(), GetFolio(1))
    assert [event for _, _, event in recorder] == [GetFolio(1)]


def test_an_engine_takes_it() -> None:
    recorder = Recorder()

    async def body(t: Task, index: int) -> None:
        assert t.rec is not None
        t.rec(t, GetFolio(index))
        await t.spend(100)
        t.rec(t, GetFolio(index + 10))

    engine = Engine(rec=recorder.rec)
    engine.spawn("vcpu0", body, 0)
    engine.spawn("vcpu1", body, 1)
    run(engine)
    assert list(recorder) == [
        (0, "vcpu0", GetFolio(0)),
        (0, "vcpu1", GetFolio(1)),
        (100, "vcpu0", GetFolio(10)),
        (100, "vcpu1", GetFolio(11)),
    ]
