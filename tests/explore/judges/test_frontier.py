"""What linearizability has to remember while a run goes on: enough to judge it, and no more."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations
from random import Random

import pytest

from gmemsim.explore.judges.linearize import Interval, frontier, linearizable

#: A register: one task's operations, `w` writes its task's number, `0` to `2` is what a read saw.
Step = tuple[str, str]


def effect(kind: str, task: str):  # type: ignore[no-untyped-def] # a state function of the register
    if kind == "w":
        return lambda state: [task]
    return lambda state: [state] if state == kind else []


def history(rng: Random, length: int) -> list[tuple[str, str, str]]:
    """Begin and end events of up to three tasks, in time order: (task, begin or end, kind)."""
    events: list[tuple[str, str, str]] = []
    doing: dict[str, str] = {}
    for _ in range(length):
        task = rng.choice("abc")
        if task in doing:
            events.append((task, "end", doing.pop(task)))
        else:
            doing[task] = rng.choice(["w", "a", "b", "0"])
            events.append((task, "begin", doing[task]))
    return events


def intervals(
    events: list[tuple[str, str, str]],
) -> tuple[list[tuple[tuple[str, int], Interval[str]]], dict[str, int]]:
    """What has ended, and when the rest began."""
    began: dict[str, int] = {}
    number: dict[str, int] = defaultdict(int)
    done = []
    for time, (task, what, kind) in enumerate(events, 1):
        if what == "begin":
            began[task] = time
            continue
        name = (task, number[task])
        number[task] += 1
        done.append((name, Interval(str(name), began.pop(task), time, effect(kind, task))))
    return done, began


def verdict(events: list[tuple[str, str, str]]) -> bool:
    done, _ = intervals(events)
    return linearizable([interval for _, interval in done], "0") is None


@pytest.mark.parametrize("seed", range(3))
def test_equal_frontiers_have_the_same_future(seed: int) -> None:
    rng = Random(seed)
    groups = defaultdict(list)
    for _ in range(1_500):
        events = history(rng, rng.randrange(2, 8))
        done, under_way = intervals(events)
        # What every task is doing is in the model's own state, and so are the results.
        doing = tuple(sorted({task: kind for task, _, kind in events if task in under_way}.items()))
        results = tuple(
            sorted((task, *(k for t, what, k in events if (t, what) == (task, "end"))) for task in "abc")
        )
        groups[doing, results, frontier(done, under_way, "0")].append(events)
    compared = 0
    for (doing, _, _), alike in groups.items():
        for other in alike[1:6]:
            for _ in range(4):
                ends = [(task, "end", kind) for task, kind in doing]
                rng.shuffle(ends)
                after = [*ends, ("a", "begin", "b"), ("a", "end", "b")][: rng.randrange(1, len(ends) + 3)]
                assert verdict([*alike[0], *after]) == verdict([*other, *after])
                compared += 1
    assert compared > 200


def test_what_has_its_place_is_forgotten() -> None:
    one = [("a", "begin", "w"), ("a", "end", "w"), ("b", "begin", "w"), ("b", "end", "w")]
    other = [("a", "begin", "w"), ("b", "begin", "w"), ("b", "end", "w"), ("a", "end", "w")]
    first, second, third = (frontier(*intervals(events), "0") for events in (one, other, [*one[2:]]))
    assert first != second  # the register may hold either
    assert first == third  # however it came to hold what it does
    late = frontier(*intervals([*one, ("c", "begin", "0")]), "0")
    early = frontier(*intervals([("c", "begin", "0"), *one]), "0")
    assert late == first
    assert early not in (first, late)  # c may still have read what was there before


def test_one_that_is_too_large_says_the_order_of_all_and_no_time() -> None:
    events = [
        ("a", "begin", "w"),
        ("b", "begin", "w"),
        ("a", "end", "w"),
        ("c", "begin", "0"),
        ("b", "end", "w"),
    ]
    done, under_way = intervals(events)
    later = (
        [(name, Interval(one.name, 7 * one.began, 7 * one.ended, one.step)) for name, one in done],
        {task: 7 * began for task, began in under_way.items()},
    )
    assert frontier(done, under_way, "0", limit=1) == frontier(*later, "0", limit=1)
    others = {
        frontier(*intervals([*other]), "0", limit=1) for other in permutations(events) if in_order(other)
    }
    assert len(others) == sum(map(in_order, permutations(events)))


def in_order(events: tuple[tuple[str, str, str], ...]) -> bool:
    """Whether no operation ends before it begins."""
    return all(
        (task, "begin", kind) in events[:place]
        for place, (task, what, kind) in enumerate(events)
        if what == "end"
    )
