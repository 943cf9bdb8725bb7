"""`gmemsim.testing` has the class of every version, also of one that was just added."""

from __future__ import annotations

import pytest

import gmemsim.testing
from gmemsim.patches.registry import versions


def test_every_version_is_there() -> None:
    for cls in versions().values():
        assert getattr(gmemsim.testing, cls.__name__) is cls


def test_every_name_is_there() -> None:
    assert all(getattr(gmemsim.testing, name) for name in gmemsim.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'V99'"):
        _ = gmemsim.testing.V99
