"""Tokens from somebody else: bounded in what they unpack to, in their numbers and in how long they run."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import msgspec
import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.replay import replay
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.token import LONGEST, MOST_STEPS, PREFIX, decode, encode
from gmemsim.explore.token_names import TokenError
from gmemsim.scenarios.catalogue import load_named

PROGRAM = ScenarioProgram(scenario=load_named("same"))


def packed(values: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(zlib.compress(values)).decode().rstrip("=")


def good() -> list[Any]:
    strategy = make_strategy("random", 0)
    run = PROGRAM.build(strategy)
    strategy.begin(run.engine)
    run.run()
    body = encode(PROGRAM, run.engine.tape)[len(PREFIX) :]
    values: list[Any] = msgspec.msgpack.decode(
        zlib.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    )
    return values


def changed(**at: Any) -> str:
    """A good token with other values at `_3` (top level) or `t8` (of the target) or `c1` (of the columns)."""
    values = good()
    for key, value in at.items():
        whose = {"_": values, "t": values[2], "c": values[7]}[key[0]]
        whose[int(key[1:])] = value
    return packed(msgspec.msgpack.encode(values))


def test_the_token_that_is_changed_is_good() -> None:
    assert replay(changed()).same_log


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (lambda: packed(b"\x98" + b"\x91" * 6_000 + b"\xc0"), "damaged"),
        (lambda: packed(b"\0" * (64 << 20)), "more than 4 MiB"),
        (lambda: PREFIX + "A" * (7 << 20), "characters"),
        (lambda: changed(_0=9), "of version 9"),
        (lambda: changed(_3=1 << 60), "step limit"),
        (lambda: changed(_3=MOST_STEPS + 1), "step limit"),
        (lambda: changed(_3=0), "step limit"),
        (lambda: changed(t12=["nope"]), "a rule that is not there"),
        (lambda: changed(t3="this.py:X"), "only if you name it"),
        (lambda: changed(t3="/usr/lib/python3/this.py:X"), "only if you name it"),
        (lambda: changed(t3="v3/../x.py:X+y"), "only if you name it"),
        (lambda: changed(c1=1 << 62), "incomplete"),
        (lambda: changed(c3=b"\xff" * 1_000_000), "incomplete"),
        (lambda: changed(c1=1, c2=b"\xff" * 10, c3=b"\0", c4=b"\0", c5=b"\0", c6=b"\1"), "too long|no end"),
        (lambda: packed(msgspec.msgpack.encode(good()).replace(b"same", b"\xff\xfe\xfd\xfc")), "damaged"),
    ],
)
def test_refused_before_anything_runs(token: Any, says: str) -> None:
    with pytest.raises(TokenError, match=says) as refused:
        decode(token()).program()
    assert "\n" not in str(refused.value)


def test_the_longest_text_is_still_looked_at() -> None:
    with pytest.raises(TokenError, match="starts with gm1:"):
        decode("x" * LONGEST)
    with pytest.raises(TokenError, match="more than"):
        decode("x" * (LONGEST + 1))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([99, "of", "another", "shape"], "is of version 99"),
        ([99], "is of version 99"),
        ({99: 1}, "damaged"),
        (["text"], "damaged"),
    ],
)
def test_a_token_of_another_version_is_called_so(values: Any, says: str) -> None:
    with pytest.raises(TokenError, match=says):
        decode(packed(msgspec.msgpack.encode(values)))
