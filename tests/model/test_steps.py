"""Every trap and every event of the calls that matter most, in order."""

from __future__ import annotations

import pytest
from tests.model.steps import FILE, found

EXPECTED = {
    lines[0].removeprefix("## "): lines[1:]
    for lines in (part.splitlines() for part in FILE.read_text().split("\n\n"))
}


@pytest.fixture(scope="module")
def calls() -> dict[str, list[str]]:
    return dict(found())


@pytest.mark.parametrize("title", EXPECTED)
def test_steps_of_a_call(title: str, calls: dict[str, list[str]]) -> None:
    assert calls[title] == EXPECTED[title], "changed on purpose? python -m tests.model.steps"


def test_no_call_is_left_out(calls: dict[str, list[str]]) -> None:
    assert list(calls) == list(EXPECTED)
