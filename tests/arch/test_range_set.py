"""A set of ranges is a set."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gmemsim.arch.range_set import RangeSet

NUMBERS = st.integers(0, 40)


@given(
    st.lists(st.tuples(st.sampled_from(["add", "discard", "update", "difference_update"]), NUMBERS, NUMBERS))
)
def test_it_is_a_set(steps: list[tuple[str, int, int]]) -> None:
    ours, plain = RangeSet(), set[int]()
    for name, start, end in steps:
        what = range(start, end) if name.endswith("update") else start
        for each in (ours, plain):
            getattr(each, name)(what)
        assert ours == plain
        assert len(ours) == len(plain)
        assert bool(ours) == bool(plain)
    assert list(ours) == sorted(plain)
    assert [number in ours for number in range(42)] == [number in plain for number in range(42)]
    assert ours.mixed(3, 9) == (len({number in plain for number in range(3, 9)}) > 1)


def test_a_large_range_costs_one_piece() -> None:
    numbers = RangeSet(range(1 << 40))
    numbers.difference_update([5, 7])
    assert numbers.ranges() == [(0, 5), (6, 7), (8, 1 << 40)]
    odd: Any = "x"
    assert odd not in numbers
    assert -1 not in numbers
    assert repr(RangeSet([1, 2, 9])) == "RangeSet(1..2, 9..9)"
    numbers.clear()
    assert numbers == set()
