"""The base of every audit event: a frozen struct whose tag is the event's name in the log."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

import msgspec

_CAMEL = re.compile(r"(?<!^)(?=[A-Z])")


def event_name(class_name: str) -> str:
    """`PageCacheAdd` is written `page_cache_add`."""
    return _CAMEL.sub("_", class_name).lower()


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="event", tag=event_name):
    """One step of the model as the log shows it. Subclasses say what they mirror in the kernel.

    Attributes:
        mirrors: the kernel function or tracepoint that the event stands for.
        family: group on the reference page.
        range_of: what `start` and `end` count, if there are such: pages of the file, guest frames or host frames.
    """

    mirrors: ClassVar[str] = ""
    family: ClassVar[str] = ""
    range_of: ClassVar[Literal["", "index", "gfn", "pfn"]] = ""


def event_classes() -> dict[str, type[Event]]:
    """Every event class by its name in the log, in alphabetical order."""
    found: dict[str, type[Event]] = {}
    todo = [Event]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            tag = cls.__struct_config__.tag
            if isinstance(tag, str) and not cls.__name__.startswith("_"):
                found[tag] = cls
    return dict(sorted(found.items()))
