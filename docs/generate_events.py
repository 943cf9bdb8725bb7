"""Write docs/events.md, the reference of all events, from the docstrings of their classes.

python docs/generate_events.py
"""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from gmemsim.audit.base import Event
from gmemsim.audit.vocabulary import MODULES, name_of

if TYPE_CHECKING:
    from types import ModuleType

PAGE = Path(__file__).parent / "events.md"

_INTRODUCTION = """\
# Audit events

<!-- Made by `python docs/generate_events.py`; edit the docstrings of the event classes instead. -->

Every step of the model is one of these events. In a log (`*.jsonl`, or `*.jsonl.zst` compressed with zstd),
an event is a line:

```json
{"seq":17,"t":2450,"actor":"vcpu0","event":"page_cache_add","index":3,"pfn":4099,"order":0}
```

`seq` counts from 0, `t` is virtual time in nanoseconds, `actor` is the task that took the step, and the
event's own fields follow in the order given here. The first line is the header, the last one says how many
events there are:

```json
{"log":"gmemsim","schema":1,"scenario":"punch1_v4","patch":"v3","arch":"snp","seed":7}
{"end":"gmemsim","events":1342}
```

No line holds a wall-clock time or a memory address: the same run writes the same bytes.
"""


def render_reference() -> str:
    """The page as Markdown: a table a family, in the order of the modules that define the events."""
    families: dict[str, list[type[Event]]] = {}
    notes: list[str] = []
    for module in MODULES:
        # The first paragraph only says what the module is.
        notes += cleandoc(module.__doc__ or "").split("\n\n")[1:]
        for cls in _events_of(module):
            families.setdefault(cls.family, []).append(cls)
    count = sum(map(len, families.values()))
    index = [f"* [{family}](#{_anchor(family)}): {len(classes)}" for family, classes in families.items()]
    parts = [_INTRODUCTION, *(f"{note.strip()}\n" for note in notes), f"{count} events:\n", *index]
    for family, classes in families.items():
        parts += [f"\n## {family}\n", "| event | fields | meaning | mirrors |", "| --- | --- | --- | --- |"]
        parts += map(_row, classes)
    return "\n".join(parts) + "\n"


def _events_of(module: ModuleType) -> list[type[Event]]:
    """The events that `module` defines, in its order."""
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Event)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _row(cls: type[Event]) -> str:
    fields = ", ".join(f"`{field.encode_name}` {_type_name(field.type)}" for field in structs.fields(cls))
    meaning = " ".join(cleandoc(cls.__doc__ or "").split())
    cells = (f"`{name_of(cls)}`", fields or "none", meaning, cls.mirrors)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _anchor(family: str) -> str:
    return family.lower().replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(render_reference(), encoding="utf-8")
