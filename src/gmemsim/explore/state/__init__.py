"""The state of a run as a value: equal digests mean that everything that can still happen is the same."""

from __future__ import annotations

from .coroutines import NotRestorable, supported
from .digest import StateDigest
from .live import LiveState, Mark

__all__ = ["LiveState", "Mark", "NotRestorable", "StateDigest", "supported"]
