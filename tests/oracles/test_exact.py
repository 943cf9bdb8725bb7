"""Names of rules, drawn together."""

from __future__ import annotations

import pytest

from gmemsim.oracles.exact import in_short


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        ("", ""),
        ("I7", "I7"),
        ("I1 I2", "I1, I2"),
        ("I3 I1 I2", "I1 to I3"),
        ("I1 I2 I3 I5 I7 I8 deadlock", "I1 to I3, I5, I7, I8, deadlock"),
        ("deadlock I10 Sealed I9 I11 deadlock", "I9 to I11, deadlock, Sealed"),
    ],
)
def test_neighbours_are_drawn_together(rules: str, shown: str) -> None:
    assert in_short(rules.split()) == shown
