"""What is done to a container of a declared field is announced: for its key or for all of it, a read or a change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.test_observed import footprints

from gmemsim.engine.observed import announces, by_key, changes, declared_fields, reads, whole
from gmemsim.engine.observed_containers import keys_within
from gmemsim.engine.op import ALL, Op


class Pairs(dict[int, str]):
    """Finds an entry by two keys."""

    def get(self, key: int, default: Any = None, /) -> Any:
        return super().get(key & ~1, default)

    def odd(self) -> bool:
        return any(key & 1 for key in self)


@announces(
    slots=by_key(lambda table: "slots"),
    wide=by_key(lambda table: "wide", lambda key: (key * 10, key * 10 + 10)),
    kinds=by_key(lambda table: "kinds"),
    waiting=whole(lambda table: ("waiting", 3, 4)),
    queue=whole(lambda table: ("queue", 0, ALL)),
    pairs=by_key(lambda table: "pairs"),
)
class Table:
    def __init__(self) -> None:
        self.slots = {1: "a", 2: "b"}
        self.wide = {1: "a"}
        self.kinds = {1, 2}
        self.waiting = ["a", "b"]
        self.queue = deque("ab")
        self.pairs = Pairs({2: "a"})
        self._hidden = {5: "c"}

    @reads(lambda table, low, high: ("hidden", low, high))
    def between(self, low: int, high: int) -> list[str]:
        return [value for key, value in self._hidden.items() if low <= key < high and key in self.slots]

    @changes(lambda table, key: [("hidden", key, key + 1), ("other", 0, 1)])
    def drop(self, key: int) -> None:
        self._hidden.pop(key, None)

    @reads(lambda table: None)
    def own(self) -> int:
        return len(self._hidden)


def r(obj: str, low: int = 0, high: int = ALL) -> Op:
    return Op("load", obj, low, high, "r")


def w(obj: str, low: int = 0, high: int = ALL) -> Op:
    return Op("rmw", obj, low, high)


CASES: list[tuple[str, Callable[[Any], Any], list[Op]]] = [
    ("get", lambda x: x.slots.get(1), [r("slots", 1, 2)]),
    ("get of none", lambda x: x.slots.get(7), [r("slots", 7, 8)]),
    ("item", lambda x: x.slots[1], [r("slots", 1, 2)]),
    ("in", lambda x: 1 in x.slots, [r("slots", 1, 2)]),
    ("store", lambda x: x.slots.__setitem__(4, "d"), [w("slots", 4, 5)]),
    ("del", lambda x: x.slots.__delitem__(1), [w("slots", 1, 2)]),
    ("pop", lambda x: x.slots.pop(9, None), [w("slots", 9, 10)]),
    ("setdefault", lambda x: x.slots.setdefault(4, "d"), [w("slots", 4, 5)]),
    ("clear", lambda x: x.slots.clear(), [w("slots")]),
    ("update", lambda x: x.slots.update({4: "d"}), [w("slots", 4, 5)]),
    ("len", lambda x: len(x.slots), [r("slots")]),
    ("bool", lambda x: bool(x.slots), [r("slots")]),
    ("list", lambda x: list(x.slots), [r("slots")]),
    ("keys", lambda x: x.slots.keys(), [r("slots")]),
    ("values", lambda x: list(x.slots.values()), [r("slots")]),
    ("items", lambda x: x.slots.items(), [r("slots")]),
    ("equal", lambda x: x.slots == {}, [r("slots")]),
    ("copy", lambda x: x.slots.copy(), [r("slots")]),
    ("another dict", lambda x: setattr(x, "slots", {}), [w("slots")]),
    ("keys within", lambda x: keys_within(x.slots, 2, 9), [r("slots", 2, 9)]),
    ("range of a key", lambda x: x.wide.get(3), [r("wide", 30, 40)]),
    ("keys within, ranges", lambda x: keys_within(x.wide, 1, 3), [r("wide", 10, 30)]),
    ("member", lambda x: 1 in x.kinds, [r("kinds", 1, 2)]),
    ("add", lambda x: x.kinds.add(4), [w("kinds", 4, 5)]),
    ("discard", lambda x: x.kinds.discard(4), [w("kinds", 4, 5)]),
    ("remove", lambda x: x.kinds.remove(1), [r("kinds", 1, 2), w("kinds", 1, 2)]),
    ("members of a range", lambda x: x.kinds.update(range(3, 6)), [w("kinds", 3, 6)]),
    ("no range", lambda x: x.kinds.difference_update(range(3, 3)), []),
    ("members", lambda x: x.kinds.difference_update([1, 5]), [w("kinds", 1, 2), w("kinds", 5, 6)]),
    ("disjoint", lambda x: x.kinds.isdisjoint(range(7, 9)), [r("kinds", 7, 9)]),
    ("union", lambda x: x.kinds | {9}, [r("kinds")]),
    ("element", lambda x: x.waiting[0], [r("waiting", 3, 4)]),
    ("loop", lambda x: [each for each in x.waiting], [r("waiting", 3, 4)]),  # noqa: C416 # a loop
    ("in list", lambda x: "a" in x.waiting, [r("waiting", 3, 4)]),
    ("append", lambda x: x.waiting.append("c"), [w("waiting", 3, 4)]),
    ("insert", lambda x: x.waiting.insert(0, "c"), [w("waiting", 3, 4)]),
    ("remove from list", lambda x: x.waiting.remove("a"), [w("waiting", 3, 4)]),
    ("set element", lambda x: x.waiting.__setitem__(0, "c"), [w("waiting", 3, 4)]),
    ("delete element", lambda x: x.waiting.__delitem__(0), [w("waiting", 3, 4)]),
    ("popleft", lambda x: x.queue.popleft(), [w("queue")]),
    ("own class", lambda x: x.pairs.get(3), [r("pairs")]),
    ("own class, stored", lambda x: x.pairs.__setitem__(4, "b"), [w("pairs")]),
    ("own class, own method", lambda x: x.pairs.odd(), [w("pairs")]),
    ("method", lambda x: x.between(2, 6), [r("hidden", 2, 6)]),
    ("method of two places", lambda x: x.drop(5), [w("hidden", 5, 6), w("other", 0, 1)]),
    ("method of no place", lambda x: x.own(), []),
]


@pytest.mark.parametrize(("call", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_done_is_announced(call: Callable[[Any], Any], expected: list[Op]) -> None:
    table, plain = Table(), Table()
    found: list[Any] = []
    ops = footprints(lambda t: found.append(call(table)))
    assert list(dict.fromkeys(ops)) == expected
    # And it is done: to who is not asked it is the plain container, which does the same.
    assert found == [call(plain)]
    assert vars(table) == vars(plain)


def test_who_is_not_asked_gets_the_container_itself() -> None:
    footprints(lambda t: None)
    table = Table()
    assert type(table.slots) is dict
    assert type(table.kinds) is set


def test_a_step_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="more than one step"):

        class _Waits:
            @reads(lambda waits: ("waits", 0, ALL))
            async def wait(self) -> None: ...


def test_a_value_of_the_class_would_hide_the_field() -> None:
    with pytest.raises(TypeError, match=r"Word\.size is a value of the class"):

        @announces(size=lambda word: ("word", 0, ALL))
        class Word:
            size = 4


def test_declared_fields_are_known() -> None:
    assert (Table, "slots") in declared_fields
