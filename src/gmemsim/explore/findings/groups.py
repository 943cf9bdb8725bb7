"""Versions and operations that findings speak of together."""

from __future__ import annotations

from typing import Final

from ...patches.groups import (
    ALL_VERSIONS,
    ATTRIBUTES,
    HUGE,
    HUGE_WITHOUT_MUTEX,
    IN_PLACE,
    LOCKLESS_UNBIND,
)

__all__ = [
    "ALL_VERSIONS",
    "ATTRIBUTES",
    "BY_HOST",
    "BY_VCPU",
    "HUGE",
    "HUGE_WITHOUT_MUTEX",
    "IN_PLACE",
    "LOCKLESS_UNBIND",
]

#: Operations of a scenario in which a vCPU faults, and those in which the host does.
BY_VCPU: Final = frozenset({"touch", "read", "write", "accept", "prefault"})
BY_HOST: Final = frozenset({"host_touch", "host_read", "host_write", "pin"})
