"""The policy of a lock, by name."""

from __future__ import annotations

import pytest

from gmemsim.engine.locks.rivals import FifoFair
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.world import _lock_class


def test_a_policy_by_name() -> None:
    assert _lock_class(None) is RwSem
    assert _lock_class("fifo") is _lock_class(FifoFair) is FifoFair
    with pytest.raises(ScenarioError) as refused:
        _lock_class("fifa")
    assert str(refused.value).startswith("no lock policy 'fifa'; ")
    assert "fifo" in str(refused.value)
