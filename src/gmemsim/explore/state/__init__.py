"""The state of a run as a value: equal digests mean that everything that can still happen is the same."""

from __future__ import annotations

from .digest import StateDigest

__all__ = ["StateDigest"]
