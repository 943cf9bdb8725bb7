"""Every trap and every event of the calls that matter most, in order."""

from __future__ import annotations

from tests.model.steps import FILE, found

EXPECTED = {
    lines[0].removeprefix("## "): lines[1:]
    for lines in (part.splitlines() for part in FILE.read_text().split("\n\n"))
}


def test_steps_of_calls() -> None:
    """Changed on purpose? `python -m tests.model.steps` writes what there is now."""
    calls = dict(found())
    for title, expected in EXPECTED.items():
        assert calls[title] == expected, title
    assert list(calls) == list(EXPECTED)
