"""What tells two states apart: every kind of value in which they can differ, for both ways of looking at a state."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, deque
from functools import partial
from random import Random
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from gmemsim.engine.engine import Engine
from gmemsim.explore.state import LiveState, StateDigest
from gmemsim.explore.state.coroutines import Image, drop, supported, take
from gmemsim.explore.state.iterators import NotRestorable

needs_frames = pytest.mark.skipif(not supported(), reason="coroutines cannot be put back on this interpreter")

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task


class Slotted:
    __slots__ = ("here",)

    def __init__(self, here: object) -> None:
        self.here = here


@attrs.define(slots=False)
class Plain:
    here: object


class Cache(dict[int, int]):
    """With an attribute beside its entries."""

    beside: object = None


class Slots(dict[int, int]):
    """With a slot beside its entries."""

    __slots__ = ("beside",)

    def __init__(self, entries: dict[int, int], beside: object) -> None:
        super().__init__(entries)
        self.beside = beside


class Refused(Exception):
    """What a kernel of the user's raises."""


class Hiding(dict[int, int]):
    """With a view of its own of its entries."""

    def items(self) -> Any:
        return ()


@attrs.frozen
class Frozen:
    """A value that has something in it which can change, and something that two equal ones may differ in."""

    inner: list[int]
    beside: int = attrs.field(default=0, eq=False)


class Oracles:
    """By its name what the ledger is."""

    def __init__(self, seen: int) -> None:
        self.seen = seen


def cache(entries: dict[int, int], beside: int) -> Cache:
    made = Cache(entries)
    made.beside = beside
    return made


def raised_from(cause: int) -> BaseException:
    made = ValueError()
    made.__cause__ = OSError(cause, "")
    return made


class Number(int):
    """With an attribute beside its value."""

    beside: object = None


def number(beside: int) -> Number:
    made = Number(7)
    made.beside = beside
    return made


def told(value: Any, beside: int) -> Any:
    value.beside = beside
    return value


def defaults(value: int) -> Callable[..., object]:
    def inner(one: list[int] = [value], *, other: list[int] = [value]) -> object:  # noqa: B006 # it is what is looked at
        return one, other

    return inner


def closure(value: object) -> Callable[[], object]:
    return lambda: value


KINDS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "int": (lambda: 1, lambda: 2),
    "str": (lambda: "a", lambda: "b"),
    "bool": (lambda: False, lambda: True),
    "float": (lambda: 0.5, lambda: 0.25),
    "bytes": (lambda: b"a", lambda: b"b"),
    "range": (lambda: range(3), lambda: range(4)),
    "list": (lambda: [1, 2], lambda: [2, 1]),
    "longer list": (lambda: [1], lambda: [1, 1]),
    "list or tuple": (lambda: [1], lambda: (1,)),
    "tuple": (lambda: (1, 2), lambda: (1, 3)),
    "deque": (lambda: deque([1, 2]), lambda: deque([2, 1])),
    "set": (lambda: {1, 2}, lambda: {1, 3}),
    "frozenset": (lambda: frozenset({1}), lambda: frozenset({2})),
    "value of a dict": (lambda: {1: 2}, lambda: {1: 3}),
    "key of a dict": (lambda: {1: 2}, lambda: {2: 2}),
    "entry of its own dict": (lambda: cache({1: 2}, 0), lambda: cache({1: 3}, 0)),
    "beside the entries": (lambda: cache({1: 2}, 0), lambda: cache({1: 2}, 1)),
    "slot beside the entries": (lambda: Slots({1: 2}, 0), lambda: Slots({1: 2}, 1)),
    "behind a slot beside the entries": (lambda: Slots({1: 2}, [0]), lambda: Slots({1: 2}, [1])),
    "entry beside a slot": (lambda: Slots({1: 2}, 0), lambda: Slots({1: 3}, 0)),
    "array": (lambda: array("Q", [1, 2]), lambda: array("Q", [1, 3])),
    "arguments": (lambda: partial(closure, [1]), lambda: partial(closure, [2])),
    "keywords": (lambda: partial(closure, value=1), lambda: partial(closure, value=2)),
    "order of a dict": (lambda: {1: 2, 3: 4}, lambda: {3: 4, 1: 2}),
    "attribute of a partial": (lambda: told(partial(closure), 1), lambda: told(partial(closure), 2)),
    "attribute of a function": (lambda: told(closure(0), 1), lambda: told(closure(0), 2)),
    "default": (lambda: defaults(1), lambda: defaults(2)),
    "whose method": (lambda: [1].append, lambda: [2].append),
    "counter": (lambda: Counter({"ok": 1}), lambda: Counter({"ok": 2})),
    "order of a counter": (lambda: Counter("ab"), lambda: Counter("ba")),
    "slot": (lambda: Slotted(1), lambda: Slotted(2)),
    "attribute": (lambda: Plain(1), lambda: Plain(2)),
    "deep": (lambda: Plain([Slotted({3})]), lambda: Plain([Slotted({4})])),
    "closure": (lambda: closure(1), lambda: closure(2)),
    "arguments of an exception": (lambda: ValueError(1), lambda: ValueError(2)),
    "arguments of the user's": (lambda: Refused([1]), lambda: Refused([2])),
    "number of an error": (lambda: OSError(1, ""), lambda: OSError(2, "")),
    "cause of an exception": (lambda: raised_from(1), lambda: raised_from(2)),
    "entry that `items` hides": (lambda: Hiding({1: 2}), lambda: Hiding({1: 3})),
    "inside a frozen value": (lambda: Frozen([1]), lambda: Frozen([2])),
    "what does not count for equality": (lambda: Frozen([1], 1), lambda: Frozen([1], 2)),
    "ledger": (lambda: Oracles(1), lambda: Oracles(2)),
}


def anew(one: object, other: object, *, ledger: bool, ordered: bool = True) -> tuple[bytes, bytes]:
    """Digests of two states, each looked at afresh."""
    found = []
    for root in (one, other):
        engine = Engine()
        engine.ordered = ordered
        engine.roots = [Plain(root)]
        found.append(StateDigest(ledger=ledger).of(engine))
    return found[0], found[1]


def in_one_run(one: object, other: object, *, ledger: bool, ordered: bool = True) -> tuple[bytes, bytes]:
    """Digests of two states of a run that is taken back and forth."""
    engine = Engine()
    engine.ordered = ordered
    root = Plain(one)
    engine.roots = [root]
    live = LiveState(engine, ledger=ledger)
    try:
        first = live.digest()
        root.here = other
        return first, live.digest()
    finally:
        live.close()


LOOKS = [anew, *([in_one_run] if supported() else [])]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
def test_states_that_differ(look: Any, kind: str) -> None:
    one, other = KINDS[kind]
    first, second = look(one(), other(), ledger=True)
    assert first != second


def test_what_cannot_be_put_back_is_refused_and_counts_for_the_other_way() -> None:
    one, other = OrderedDict({1: 2, 3: 4}), OrderedDict({3: 4, 1: 2})
    first, second = anew(one, other, ledger=True, ordered=False)
    assert first != second
    assert len(set(anew(number(1), number(2), ledger=True))) == 2
    views = [MappingProxyType({1: value}) for value in (2, 3)]
    assert len(set(anew(*views, ledger=True))) == 2
    if supported():
        with pytest.raises(NotRestorable, match="OrderedDict"):
            in_one_run(one, other, ledger=True)
        with pytest.raises(NotRestorable, match="Number"):
            in_one_run(number(1), number(2), ledger=True)
        with pytest.raises(NotRestorable, match="view"):
            in_one_run(*views, ledger=True)


def test_what_no_attribute_shows_is_refused_and_counts_for_the_other_way() -> None:
    """A generator of random numbers is written in C, and so is that of a subclass."""

    class Mine(Random):
        pass

    for made in (Random, Mine):
        one, other = made(1), made(2)
        first, second = anew(one, other, ledger=True)
        assert first != second
        first, second = anew(one, made(1), ledger=True)
        assert first == second
        if supported():
            with pytest.raises(NotRestorable, match=made.__name__):
                in_one_run(one, other, ledger=True)
    # Nothing of it can be read: then no state is the same as another one, that one itself included.
    engine, digest = Engine(), StateDigest()
    engine.roots = [Lock()]
    assert digest.of(engine) != digest.of(engine)


@needs_frames
@pytest.mark.parametrize("kind", ["array", "slot beside the entries", "behind a slot beside the entries"])
def test_what_has_more_than_items_is_put_back(kind: str) -> None:
    root, other = (make() for make in KINDS[kind])
    engine = Engine()
    engine.roots = [root]
    live = LiveState(engine)
    try:
        before, mark = live.digest(), live.mark()
        if isinstance(root, array):
            root[1] = 3
            root.append(4)
        else:
            root.beside = other.beside
            root[5] = 6
        assert live.digest() != before
        live.back(mark)
        assert live.digest() == before
        assert root == KINDS[kind][0]()
    finally:
        live.close()


@needs_frames
def test_the_arguments_of_an_exception_are_put_back() -> None:
    kept = Refused([1], 2)
    engine = Engine()
    engine.roots = [kept]
    live = LiveState(engine)
    try:
        before, mark = live.digest(), live.mark()
        kept.args[0].append(3)
        kept.args = (*kept.args, 4)
        assert live.digest() != before
        live.back(mark)
        assert live.digest() == before
        assert kept.args == ([1], 2)
    finally:
        live.close()


@needs_frames
def test_of_equal_frozen_values_it_matters_which_is_where() -> None:
    """One has a list that another place has too, the other has not."""
    value = Frozen([])
    root, also = Plain(Frozen([])), Plain(value)
    engine = Engine()
    engine.roots = [root, also]
    live = LiveState(engine)
    try:
        apart = live.digest()
        root.here = value
        together, mark = live.digest(), live.mark()
        assert together != apart
        value.inner.append(1)
        assert live.digest() not in (together, apart)
        live.back(mark)
        assert root.here is also.here
        assert live.digest() == together
    finally:
        live.close()


@pytest.mark.parametrize("look", LOOKS)
def test_without_the_ledger(look: Any) -> None:
    first, second = look(Oracles(1), Oracles(2), ledger=False)
    assert first == second
    first, second = look(Plain(1), Plain(2), ledger=False)
    assert first != second


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["list", "set", "deep", "entry of its own dict"])
def test_states_that_are_the_same(look: Any, kind: str) -> None:
    one, _ = KINDS[kind]
    first, second = look(one(), one(), ledger=True)
    assert first == second


@pytest.mark.parametrize("look", LOOKS)
def test_the_same_in_another_order(look: Any) -> None:
    """Where nobody asks in which order a dict has its entries."""
    for one, other in [({1: 2, 3: 4}, {3: 4, 1: 2}), ({8, 16}, {16, 8})]:
        first, second = look(one, other, ledger=True, ordered=False)
        assert first == second


@pytest.mark.parametrize("look", LOOKS)
def test_one_object_or_two(look: Any) -> None:
    """Which of two places changes when an object does is a difference."""
    shared = Slotted(1)
    first, second = look([shared, shared], [Slotted(1), Slotted(1)], ledger=True)
    assert first != second


@needs_frames
def test_a_coroutine_that_did_not_run_keeps_its_image() -> None:
    async def body(t: Task | None, value: int) -> int:
        return value

    coro = partial(body, None, 3)()
    image = Image(coro, 0)
    assert take(coro, image, 0) is image
    assert take(coro, image, 1) is not image
    drop(coro)
