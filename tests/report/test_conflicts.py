"""Which pair of accesses is named first."""

from __future__ import annotations

from gmemsim.engine.op import Mode, Op, OpKind
from gmemsim.report.conflicts import conflicts
from gmemsim.report.interest import Interest
from gmemsim.report.model import Step

Row = tuple[str, OpKind, str, Mode]


def steps(*rows: Row) -> list[Step]:
    return [
        Step(number, task, 1, 1, Op(kind, obj, mode=mode), (f"{task}_function",), "", ())
        for number, (task, kind, obj, mode) in enumerate(rows, 1)
    ]


RUN = steps(
    ("a", "store", "vm0.seq", "w"),
    ("b", "load", "vm0.seq", "r"),
    ("a", "store", "word", "w"),
    ("b", "load", "word", "r"),
    ("a", "load", "quiet", "r"),
    ("b", "load", "quiet", "r"),
    ("a", "release", "lock", "w"),
    ("b", "acquire", "lock", "w"),
    ("a", "store", "late", "w"),
    ("b", "store", "late", "w"),
)


def named(*args: object, **more: object) -> list[tuple[str, int, int, bool]]:
    pairs = conflicts(*args, **more)  # type: ignore[arg-type] # handed through
    return [(pair.on, pair.first.step, pair.second.step, pair.flips) for pair in pairs]


def test_order() -> None:
    """Words of the VM before other data, data before locks, later before earlier; two loads do not conflict."""
    assert named(RUN, Interest()) == [
        ("vm0.seq", 1, 2, False),
        ("late", 9, 10, False),
        ("word", 3, 4, False),
        ("lock", 7, 8, False),
    ]


def test_what_came_after_the_failure_is_left_out() -> None:
    """Nothing behind the step at which it showed."""
    assert [pair[0] for pair in named(RUN, Interest(), last=8)] == ["vm0.seq", "word", "lock"]


def test_pairs_that_turn_come_first() -> None:
    """An ordinary word whose accesses the passing run turns round beats the object of the rule."""
    passing = [RUN[position] for position in (0, 1, 3, 2, 4, 5, 6, 7, 8, 9)]
    assert named(RUN, Interest(), passing)[0] == ("word", 3, 4, True)
    assert named(RUN, Interest((), [".seq"]), passing)[0] == ("word", 3, 4, True)
    assert named(RUN, Interest((), ["late"]))[0] == ("late", 9, 10, False)


def test_the_last_pair_that_turns() -> None:
    """Of several on one object: not the last one, if an earlier one is what the passing run turns round."""
    run = steps(
        ("a", "store", "word", "w"),
        ("b", "store", "word", "w"),
        ("a", "store", "word", "w"),
        ("b", "load", "word", "r"),
    )
    passing = [run[position] for position in (1, 0, 2, 3)]
    assert named(run, Interest()) == [("word", 3, 4, False)]
    assert named(run, Interest(), passing) == [("word", 1, 2, True)]
