"""What a failure is about: pages, frames, VMs and locks, and which steps touch them.

A page has up to three names: an index of the file, a guest frame and a host frame. Events that give two of them tell
which belong together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.kvm_events import Populate
from ..engine.op import ALL
from .words import lock_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from ..audit.base import Event
    from ..engine.op import Op

#: What sort of number (`index`, `gfn`, `pfn`), and a half-open range of it.
Span = tuple[str, int, int]

_INDEX_OBJECTS: Final = (".bindings", ".content", ".folio", ".mapcount", ".poison", ".ref", ".uptodate")
_GUEST_OBJECTS: Final = (".attributes", ".spte")
#: A range as wide as this is no place.
_WIDE: Final = 4096


def spans_of_event(event: Event) -> list[Span]:
    """The pages that an event names."""
    spans: list[Span] = []
    fields = event.__struct_fields__
    for field in ("index", "gfn", "pfn"):
        if field in fields and (at := getattr(event, field)) >= 0:
            width = event.pages if isinstance(event, Populate) else 1
            spans.append((field, at, at + max(width, 1)))
    if "start" in fields and "end" in fields:
        spans.append((event.range_of or "index", event.start, event.end))  # type: ignore[attr-defined] # just looked
    return spans


def spans_of_op(op: Op, inodes: frozenset[str]) -> list[Span]:
    """The pages that an operation is on; empty if its object is not made of pages."""
    if op.hi >= ALL:
        return []
    # Attributes are the file's where memory is converted in place, and the VM's elsewhere.
    of_inode = op.obj in inodes or op.obj.removesuffix(".attributes") in inodes
    if of_inode or op.obj.endswith(_INDEX_OBJECTS):
        return [("index", op.lo, op.hi)]
    if op.obj.endswith(_GUEST_OBJECTS):
        return [("gfn", op.lo, op.hi)]
    if op.obj == "frame":
        return [("pfn", op.lo, op.hi)]
    return []


class Interest:
    """Pages and labels that a failure is about.

    Attributes:
        spans: pages; empty: no page was named, so that any page counts.
        labels: locks and other objects.
        suffixes: last parts of the labels of objects that count whatever VM or file they belong to.
    """

    def __init__(self, inodes: Iterable[str] = (), suffixes: Iterable[str] = ()) -> None:
        self.spans: set[Span] = set()
        self.labels: set[str] = set()
        self.suffixes = tuple(suffixes)
        self.inodes = frozenset(inodes)

    def add_values(self, values: Mapping[str, Any]) -> None:
        """Take what the details of a violation name."""
        for name, value in values.items():
            if name in {"index", "gfn", "pfn"} and isinstance(value, int) and value >= 0:
                self.spans.add((name, value, value + 1))
            elif name in {"file", "inode", "lock", "vm"} and isinstance(value, str):
                self.labels.add(value)

    def add_event(self, event: Event) -> None:
        """Take what an event names."""
        self.spans.update(span for span in spans_of_event(event) if span[2] - span[1] < _WIDE)
        self.add_values({name: getattr(event, name) for name in ("lock",) if name in event.__struct_fields__})

    def spread(self, events: Iterable[Event]) -> None:
        """Add the other names of the pages, as the events pair them, and those of the pages so found."""
        pairs = [spans for event in events if len(spans := spans_of_event(event)) > 1]
        while True:
            known = len(self.spans)
            for spans in pairs:
                narrow = [span for span in spans if span[2] == span[1] + 1]
                if any(self.meets(span) for span in narrow):
                    self.spans.update(narrow)
            if len(self.spans) == known:
                return

    def meets(self, span: Span) -> bool:
        """Whether the range overlaps a page of interest."""
        kind, lo, hi = span
        return any(kind == other and lo < end and start < hi for other, start, end in self.spans)

    def event(self, event: Event) -> bool:
        """Whether the event is about any of it."""
        if getattr(event, "lock", None) in self.labels:
            return True
        return any(self.meets(span) for span in spans_of_event(event))

    def about(self, op: Op) -> bool:
        """Whether the rule that was broken speaks of the object."""
        return bool(self.suffixes) and op.obj.endswith(self.suffixes)

    def op(self, op: Op) -> bool:
        """Whether the operation is on any of it."""
        if lock_of(op) in self.labels or self.about(op):
            return True
        return any(self.meets(span) for span in self.op_spans(op))

    def op_spans(self, op: Op) -> Iterator[Span]:
        """Pages of the operation."""
        yield from spans_of_op(op, self.inodes)
