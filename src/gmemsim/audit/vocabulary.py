"""Every event there is: importing this module defines them all.

A new module of events is added to `MODULES`; log reader, reference page and diff find its classes from there.
"""

from __future__ import annotations

from . import events, huge_events, inplace_events, kvm_events
from .base import Event, event_classes
from .kvm_events import arch_hooks, attributes, cache, fault, gmem, host, mmu

MODULES = (
    events,
    kvm_events,
    fault,
    gmem,
    cache,
    mmu,
    attributes,
    arch_hooks,
    host,
    inplace_events,
    huge_events,
)


def vocabulary() -> dict[str, type[Event]]:
    """Event classes by name, in alphabetical order: those of `MODULES`, and those of a user's own patch."""
    return event_classes()


def name_of(cls: type[Event]) -> str:
    """The event's name in the log."""
    tag = cls.__struct_config__.tag
    return tag if isinstance(tag, str) else cls.__name__
