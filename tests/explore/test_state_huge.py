"""The state digest sees what a page cache of huge folios holds beside the folios that are objects."""

from __future__ import annotations

from tests.model.test_hugepage import HUGE, HugeRig

from gmemsim.engine.engine import Engine
from gmemsim.explore.state import StateDigest
from gmemsim.patches.hugepage import Hugepage


def digest(machine: HugeRig) -> bytes:
    engine = Engine()
    engine.roots.append(machine.inode.folios)
    return StateDigest().of(engine)


def test_a_split_range_is_not_an_empty_one() -> None:
    """Neither has a folio that is an object."""
    empty, split = (HugeRig(Hugepage, "private", pages=2 * HUGE) for _ in range(2))
    split.poke(0)
    for machine in (empty, split):
        assert machine.to(False, 5, 6).ret == 0
        assert not len(machine.inode.folios)
    assert split.orders()[0] == HUGE
    assert digest(empty) != digest(split)


def test_the_same_history_has_the_same_digest() -> None:
    """Two machines that did the same."""
    found = set()
    for _ in range(2):
        machine = HugeRig(Hugepage, "private", pages=2 * HUGE)
        machine.poke(3)
        assert machine.to(False, 5, 6).ret == 0
        found.add(digest(machine))
    assert len(found) == 1
