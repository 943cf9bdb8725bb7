"""Texts by numbers that follow from them."""

from __future__ import annotations

from gmemsim.explore.state.symmetry import Renaming
from gmemsim.explore.state.texts import Texts


def test_each_text_has_a_number_of_its_own_the_same_in_every_process() -> None:
    one, other = Texts([]), Texts([])
    texts = [["Waiter", str(number)] for number in range(20_000)]
    numbers = [one.number(text) for text in texts]
    assert len(set(numbers)) == len(texts)
    assert [other.number(text) for text in reversed(texts)] == numbers[::-1]
    # As any other process has it.
    assert one.number(["task 0 t0 ready"]) == 6791152551918176530


def test_a_text_under_a_renaming_is_one_of_the_texts() -> None:
    texts = Texts([Renaming({"t0": "t1", "t1": "t0"}, {0: 1, 1: 0})])
    first, second = texts.number(["task 0", "'t0'"]), texts.number(["task 1", "'t1'"])
    assert (texts.views(first), texts.views(second)) == ((second,), (first,))
    same = texts.number(["gmem0"])
    assert texts.views(same) == (same,)
