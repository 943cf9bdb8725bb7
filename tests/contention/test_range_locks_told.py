"""What range locks tell: the events that oracles and logs live on."""

from __future__ import annotations

import pytest
from tests.engine.locks.stage import BLOCKED, Stage

from gmemsim.contention.range_locks import PerFolioLock, RangeLock


@pytest.mark.parametrize("kind", [RangeLock, PerFolioLock])
@pytest.mark.parametrize(("mode", "down"), [("r", "down_read"), ("w", "down_write")])
@pytest.mark.parametrize("killable", ["", "_killable"])
def test_one_that_has_to_wait(kind: type[RangeLock], mode: str, down: str, killable: str) -> None:
    stage = Stage(kind)
    stage.do("a", "down_write")
    assert stage.mentions("a") == ["LockRequest w", "Lock w"]
    assert stage.do("b", down + killable) is BLOCKED
    assert stage.mentions("b") == [f"LockRequest {mode}", f"Contended {mode}"]
    stage.do("a", "up_write")
    assert stage.mentions("a")[2:] == ["Unlock w"]
    assert stage.go("b") == (0 if killable else None)
    stage.do("b", "up_read" if mode == "r" else "up_write")
    assert stage.mentions("b")[2:] == [f"Lock {mode}", f"Unlock {mode}"]
    stage.close()
