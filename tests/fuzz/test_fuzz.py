"""The short form of `make fuzz`, and what its runs have found: each stays mended."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.fuzz.mutate import mutated_bytes, mutated_value
from tests.fuzz.run import Bad, fuzz, one
from tests.fuzz.targets import TARGETS, Target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", TARGETS)
def test_damaged_input(kind: str) -> None:
    codes, wrong = fuzz([kind], 8, 0)
    assert wrong == []
    assert sum(codes.values()) == 8


def test_an_input_follows_from_its_number() -> None:
    for kind, target in TARGETS.items():
        assert target.make(Random(f"{kind} 5")) == target.make(Random(f"{kind} 5"))


def test_mutations_differ() -> None:
    data = b"name = 1\nother = [1, 2]\n"
    assert len({mutated_bytes(Random(seed), data) for seed in range(100)}) > 50
    value = {"a": [1, 2, {"b": "c"}], "d": 5}
    assert len({repr(mutated_value(Random(seed), value)) for seed in range(100)}) > 30
    assert value == {"a": [1, 2, {"b": "c"}], "d": 5}


def test_a_wrong_answer_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is no rubber stamp: two lines with exit code 2 are found."""
    monkeypatch.setitem(
        TARGETS, "wrong", Target("x", lambda _: b"", lambda _: ("run", "FILE", "--seed", "x"))
    )
    assert one("wrong", 0, tmp_path) == 2
    # By the group itself: another test may have imported its module anew.
    monkeypatch.setitem(
        type(one.__globals__["cli"]).main.__globals__, "clean", lambda message, most=0: f"{message}\nand more"
    )
    with pytest.raises(Bad, match="lines"):
        one("wrong", 0, tmp_path)


@pytest.mark.parametrize(("kind", "number"), [("log-zst", 10049), ("trace-diff", 10691)])
def test_what_a_run_has_found(kind: str, number: int, tmp_path: Path) -> None:
    """Orders of folios that no folio has."""
    one(kind, number, tmp_path)
