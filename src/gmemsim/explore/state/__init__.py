"""The state of a run as a value: equal digests mean that everything that can still happen is the same."""

from __future__ import annotations

from . import quick

# Compiled modules stand before those of the same name here.
__path__[:0] = quick.compiled_modules()

from .coroutines import supported  # noqa: E402 # behind the line above
from .digest import StateDigest  # noqa: E402 # the same
from .iterators import NotRestorable  # noqa: E402 # the same
from .live import LiveState, Mark  # noqa: E402 # the same

__all__ = ["LiveState", "Mark", "NotRestorable", "StateDigest", "supported"]
