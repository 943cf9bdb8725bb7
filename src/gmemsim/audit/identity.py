"""What makes two events the same step in two logs, whatever number, time or frame each happened to get.

An event is coded within the operation that it belongs to. Pages count from the operation's first page,
frames get names in the order in which the operation meets them, the task itself is `self`, and message
numbers are left out. So the same fault on another page, with other frames free, has the same codes: an
operation is a short tuple of small integers, and equal tuples mean equal behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .events import Contended, LockRequest, Receive, Send
from .roles import PLACES, is_label, key_of, page_of_key, span_of_key
from .vocabulary import name_of, vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Event
    from .roles import Page

__all__ = ["Code", "Coder", "Operation", "Plan"]

#: Fields that say which kind of step it is, so that they belong to its name.
_TELLING = frozenset({"flag", "lock", "message", "mode", "op", "point", "reason"})
#: Ranges of more pages than this are not followed page by page: there may be many, and terabytes wide.
_WIDE = 64
#: Steps that come with another one; they are not what a change is named after.
_SECONDARY = (Send, Receive, LockRequest, Contended)


class Operation:
    """What one task does from entry to return of a kernel function; any other event stands for itself.

    Attributes:
        actor, number: who does it.
        index, gfn: the first file index and guest frame that it touches; everything counts from them.
        frames: names of the frames, by first appearance on the page where that was.
        at: the page that was named last, and `met` how many frames have been named on each.
        open: functions that have not returned yet, and their pages.
        codes: the events so far.
        start: `index` and `gfn` as the first event gives them.
    """

    __slots__ = ("actor", "at", "codes", "frames", "gfn", "index", "met", "number", "open", "start")

    def __init__(self, actor: str, number: int = 0) -> None:
        self.actor = actor
        self.number = number
        self.index: int | None = None
        self.gfn: int | None = None
        self.frames: dict[int, str] = {}
        self.at = 0
        self.met: dict[int, int] = {}
        self.open: list[tuple[Plan, Page | None]] = []
        self.codes: list[int] = []
        self.start: tuple[int | None, int | None] = (None, None)

    def leave(self, entry: Plan) -> Page | None:
        """The function `entry` returns, and with it those inside of it: the page it was about."""
        opened = self.open
        for depth in range(len(opened) - 1, -1, -1):
            if opened[depth][0] is entry:
                page = opened[depth][1]
                del opened[depth:]
                return page
        return None


@dataclass(frozen=True, slots=True)
class Code:
    """What a code stands for.

    Attributes:
        number: the code.
        page: which page it is about, None if about several or none.
        span: the first page and how many it is about, if several and not very many.
        primary: it can give a change its name.
        anywhere: a number for the same event on any page of the operation.
        name: the event's name in the log.
        text: the name, and what tells this kind of step from others, as in `lock mmu_lock:r`.
        fields: names and coded values of the event's fields.
        kind: the same for events that begin operations of the same kind: their class, or the code where
            only that tells them apart.
    """

    number: int
    page: Page | None
    span: tuple[Page, int] | None
    primary: bool
    anywhere: int
    name: str
    text: str
    fields: tuple[tuple[str, Any], ...]
    kind: type[Event] | int


class Plan:
    """How the events of one class are coded.

    Attributes:
        key: what identifies an event within an operation.
        known: the codes given so far, by key.
        is_entry: the event is the entry of a function whose return is an event too.
        entry: for the return, the plan of the entry.
    """

    __slots__ = ("cls", "entry", "is_entry", "key", "known")

    def __init__(self, cls: type[Event]) -> None:
        self.cls = cls
        self.key: Callable[[Event, Operation], tuple[Any, ...]] = key_of(cls)
        self.known: dict[Any, Code] = {}
        self.is_entry = False
        self.entry: Plan | None = None


class _Plans(dict["type[Event]", Plan]):
    """Plans by class, made when first needed."""

    def __missing__(self, cls: type[Event]) -> Plan:
        plan = self[cls] = Plan(cls)
        return plan


class Coder:
    """Gives events their codes; one coder serves both sides of a comparison.

    Attributes:
        codes: what each code stands for.
        anywhere: a code for each number that `Code.anywhere` gives.
        plans: how the events of each class are coded.
    """

    def __init__(self) -> None:
        self.codes: list[Code] = []
        self.anywhere: list[int] = []
        self._anywhere: dict[Any, int] = {}
        classes = vocabulary()
        self.plans = _Plans()
        for name, cls in classes.items():
            entry = classes.get(name.removesuffix("_ret"))
            if name.endswith("_ret") and entry is not None:
                self.plans[cls].entry = self.plans[entry]
                self.plans[entry].is_entry = True

    def code(self, event: Event, operation: Operation) -> Code:
        """The code of `event` as the next step of `operation`."""
        plan = self.plans[event.__class__]
        if plan.entry is not None:
            # A return is about the page that its function was called for.
            page = operation.leave(plan.entry)
            key = plan.key(event, operation)
            code = plan.known.get((page, key))
            return self._new(plan, key, page, (page, key)) if code is None else code
        key = plan.key(event, operation)
        code = plan.known.get(key)
        return self._new(plan, key, page_of_key(plan.cls, key), key) if code is None else code

    def _new(self, plan: Plan, values: tuple[Any, ...], page: Page | None, key: Any) -> Code:
        cls = plan.cls
        name = name_of(cls)
        fields = tuple(zip(cls.__struct_fields__, values, strict=True))
        elsewhere = fields if page is None else tuple(map(_unplaced, fields))
        number = len(self.codes)
        anywhere = self._anywhere.setdefault((cls, elsewhere), len(self.anywhere))
        if anywhere == len(self.anywhere):
            self.anywhere.append(number)
        placed = page is not None or plan.is_entry or "start" in cls.__struct_fields__
        primary = plan.entry is None and cls not in _SECONDARY
        span = span_of_key(cls, values)
        if span is not None and not 1 < span[1] <= _WIDE:
            span = None
        code = Code(
            number,
            page,
            span,
            primary,
            anywhere,
            name,
            _text(name, fields),
            fields,
            cls if placed else number,
        )
        plan.known[key] = code
        self.codes.append(code)
        return code


def _unplaced(field: tuple[str, Any]) -> tuple[str, Any]:
    """A field without what says where in the operation the event stands."""
    name, value = field
    if name in PLACES:
        return name, 0
    if name == "pfn" and isinstance(value, str):
        return name, "0"
    return name, value[0] if is_label(value) else value


def _text(name: str, fields: tuple[tuple[str, Any], ...]) -> str:
    words = [name]
    for field, value in fields:
        if field in _TELLING:
            word = f"{value[0]}[.]" if is_label(value) else str(value)
            if field == "mode":
                words[-1] += f":{word}"
            else:
                words.append(word)
    return " ".join(words)
