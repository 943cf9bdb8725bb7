"""The reference page of all events, made from the classes: `python -m gmemsim.audit.reference [FILE]`.

Writes `docs/events.md` unless told otherwise; `-` is stdout. A test compares the page in the tree with what
this module makes, so a change of the vocabulary that is not on the page does not pass.
"""

from __future__ import annotations

import sys
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from .base import Event
from .vocabulary import MODULES, name_of

if TYPE_CHECKING:
    from types import ModuleType

_DEFAULT = Path("docs/events.md")

_INTRODUCTION = """\
# Audit events

<!-- Made by `python -m gmemsim.audit.reference`; edit the docstrings of the event classes instead. -->

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


def main(arguments: list[str] | None = None) -> int:
    """Write the page; 2 and one line on stderr if that is not possible."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) > 1 or any(argument.startswith("-") and argument != "-" for argument in arguments):
        print("usage: python -m gmemsim.audit.reference [FILE]", file=sys.stderr)
        return 2
    page = render_reference()
    if arguments == ["-"]:
        sys.stdout.write(page)
        return 0
    path = Path(arguments[0]) if arguments else _DEFAULT
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        print(f"{path}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
