"""States of one run: a digest of each, worked out from what the last step changed, and a way back to it.

The digest tells apart what `digest.StateDigest` tells apart, in another notation. An object is a node: a *text*, its
own plain values, and the nodes that it refers to. Both are worked out anew only when the object has changed. The order
in which nodes are met from the roots, which is what makes the digest canonical, depends on the references alone, so it
is remembered by them; a step that changes no reference costs no walk. Suspended coroutines come last: those that have
not run since are what they were.
"""

from __future__ import annotations

from array import array
from collections import Counter
from hashlib import blake2b
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...engine.engine import Engine
from ...engine.locks.rwsem_core import RwSemCore
from ...engine.tape import Tape
from ...engine.task import Task
from .coroutines import NULL, Image, chain_of, drop, put_back, take
from .digest import layout_of, rank
from .heap import Heap
from .ignored import CONSTANTS, COUNTED, LOCALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["LiveState", "Mark"]

_NAMED: Final = (type, ModuleType, CodeType, BuiltinFunctionType)
_RUNNING: Final = (CoroutineType, GeneratorType)
_RANGE: Final = type(iter(range(1)))
_NOTHING: Final[frozenset[str]] = frozenset()
_PATIENCE: Final = frozenset({"_patience"})
#: Structures remembered before all are forgotten.
_STRUCTURES: Final = 1024


class _Node(NamedTuple):
    """What the digest says of one object: number of its text, and the objects it refers to, in order.

    `mark` stands for these references in the key of a structure.
    """

    text: int
    refers: tuple[int, ...]
    mark: int


class _Below(NamedTuple):
    """The nodes that only the coroutines of one task lead to, and how they hang together."""

    nodes: list[int]
    shape: bytes


class _Order(NamedTuple):
    """The nodes as met from the roots, where each is, and how they hang together; `hanging` by mark of a task."""

    place: dict[int, int]
    nodes: list[int]
    shape: bytes
    hanging: dict[int, _Below]


class _Frame(NamedTuple):
    """What the digest says of a suspended coroutine; `inner` are those in its variables that it does not await."""

    text: int
    refers: tuple[int, ...]
    inner: tuple[int, ...]


class _Hanging(NamedTuple):
    """What the digest says of the coroutines of a task: texts, and all that they refer to, in order."""

    texts: list[int]
    refers: list[int]
    mark: int


_NO_FRAMES: Final = _Hanging([], [], 0)


class Mark(NamedTuple):
    """Where `LiveState.back` can return to."""

    heap: tuple[int, int]
    images: tuple[dict[int, Image], ...]
    hanging: tuple[_Hanging, ...]
    structure: int
    worked: int
    choices: int


class LiveState:
    """The state of an engine that is between two steps.

    Args:
        ledger: as for `StateDigest`.

    Attributes:
        ran: tasks that ran since they were looked at; whoever resumes one adds it.

    Raises:
        NotRestorable: something in it cannot be put back. So do all methods.
    """

    def __init__(self, engine: Engine, *, ledger: bool = True) -> None:
        self.engine = engine
        self.ledger = ledger
        self.ran: set[Task] = set(engine.tasks)
        self._heap = Heap(engine)
        self._texts: dict[str, int] = {}
        self._marks: dict[tuple[int, tuple[int, ...]], int] = {}
        self._orders: dict[int, _Order] = {}
        self._structure = 0
        self._images: list[dict[int, Image]] = [{} for _ in engine.tasks]
        self._hanging: list[_Hanging] = [_NO_FRAMES for _ in engine.tasks]
        self._layouts: dict[type, tuple[tuple[str, ...], frozenset[str]]] = {}
        self._constants: dict[type, Callable[[Any], object] | None] = {}
        #: Whose attributes a dict holds: by id, with the dict itself.
        self._owners: dict[int, tuple[Any, type]] = {}
        #: Objects that say what they remember: asked at every digest.
        self._asked: dict[int, None] = {}
        #: Nodes worked out although their object had not changed.
        self._worked: list[int] = []
        # Of the node or frame that is being written.
        self._out: list[str] = []
        self._refers: list[int] = []
        self._inner: list[Any] = []

    # -- digest --------------------------------------------------------------------------------

    def digest(self) -> bytes:
        """16 bytes: equal ones mean that everything that can still happen is the same."""
        heap = self._heap
        known = heap.known
        for number in heap.scan():
            node = known[number]
            if node is not None and number not in self._asked:
                self._structure ^= node.mark
                known[number] = None
                worked = len(self._worked)
                self._node(number)
                del self._worked[worked]
        while len(self._images) < len(self.engine.tasks):
            self.ran.add(self.engine.tasks[len(self._images)])
            self._images.append({})
            self._hanging.append(_NO_FRAMES)
        for task in self.ran:
            self._images[task.ident] = images = self._look_at(task)
            self._hang(task.ident, images)
        self.ran.clear()
        for number in self._asked:
            self._ask(number)
        order = self._orders.get(self._structure)
        if order is None:
            order = self._walk()
        parts = array("q", [known[number].text for number in order.nodes])
        shape = order.shape
        met: dict[int, tuple[int, int]] = {}
        for ident, hanging in enumerate(self._hanging):
            below = order.hanging.get(hanging.mark)
            if below is None:
                below = order.hanging[hanging.mark] = self._walk_below(hanging.refers, order)
            shape += below.shape
            parts.append(-1)
            parts.extend(hanging.texts)
            for at, number in enumerate(below.nodes):
                parts.append(known[number].text)
                first = met.setdefault(number, (ident, at))
                if first[0] != ident:
                    # Only coroutines refer to it, and those of two tasks do.
                    parts.extend((-2, *first))
        return blake2b(shape + parts.tobytes(), digest_size=16).digest()

    def _hang(self, ident: int, images: dict[int, Image]) -> None:
        """Renew what the coroutines of a task say, and what hangs on them."""
        texts: list[int] = []
        refers: list[int] = []
        for image in images.values():
            frame: _Frame = image.said or self._frame(image)
            texts.append(frame.text)
            refers += frame.refers
            if image.holds:
                # Which of the task's coroutines it holds; the one that it awaits is the next.
                keys = list(images)
                texts += [keys.index(key) for key in frame.inner]
        known = self._heap.known
        for number in [number for number in refers if known[number] is None]:
            self._node(number)
        self._hanging[ident] = _Hanging(texts, refers, self._mark(-1 - ident, tuple(refers)))

    def _look_at(self, task: Task) -> dict[int, Image]:
        """Images of what a task has suspended. What is awaited as before has not run, nor what awaits it."""
        images: dict[int, Image] = {}
        if task.done:
            return images
        before = self._images[task.ident]
        chain = chain_of(task.handle)
        below = iter([*map(id, chain[1:]), 0])
        for coro in chain:
            key = id(coro)
            known = before.get(key)
            following = next(below)
            images[key] = (
                known if known is not None and known.below == following else take(coro, known, following)
            )
        for image in list(images.values()):
            if image.holds:
                self._look_into(image, images)
        return images

    def _look_into(self, image: Image, images: dict[int, Image]) -> None:
        """Images of the generators that are held in variables."""
        for coro in image.holds:
            if id(coro) not in images:
                images[id(coro)] = inner = take(coro, None, 0)
                self._look_into(inner, images)

    def _walk(self) -> _Order:
        """Meet every node from the roots, in the order of the references."""
        roots = (self._number(root) for root in (*self.engine.tasks, self.engine.faults, *self.engine.roots))
        place: dict[int, int] = {}
        order = _Order(place, *self._meet([number for number in roots if number is not None], {}, place), {})
        if len(self._orders) >= _STRUCTURES:
            self._orders.clear()
        self._orders[self._structure] = order
        return order

    def _walk_below(self, refers: list[int], order: _Order) -> _Below:
        """Meet what only the coroutines of a task refer to."""
        return _Below(*self._meet(refers, order.place, {}))

    def _meet(
        self, start: list[int], before: dict[int, int], place: dict[int, int]
    ) -> tuple[list[int], bytes]:
        """The nodes behind `start` that are not in `before`, put into `place`, and how they hang together."""
        nodes: list[int] = []
        met = list(map(before.get, start))
        if None not in met:
            return nodes, blake2b(array("q", met).tobytes(), digest_size=16).digest()  # type: ignore[arg-type]
        known = self._heap.known
        base = len(before)
        shape = array("q")
        stack = start[::-1]
        while stack:
            number = stack.pop()
            at = before.get(number)
            if at is None:
                at = place.get(number)
            if at is not None:
                shape.append(at)
                continue
            place[number] = base + len(nodes)
            nodes.append(number)
            shape.append(-1)
            node = known[number] or self._node(number)
            stack.extend(node.refers[::-1])
        return nodes, blake2b(shape.tobytes(), digest_size=16).digest()

    # -- nodes and frames ----------------------------------------------------------------------

    def _number(self, value: Any) -> int | None:
        """Number of an object on the heap, taken in if it is not there yet; None for a plain value."""
        number = self._heap.number(value)
        if number is None:
            self._heap.add(value)
            number = self._heap.number(value)
        return number

    def _text(self, out: list[str]) -> int:
        text = "\x1f".join(out)
        number = self._texts.get(text)
        if number is None:
            number = self._texts[text] = len(self._texts)
        return number

    def _mark(self, number: int, refers: tuple[int, ...]) -> int:
        key = (number, refers)
        mark = self._marks.get(key)
        if mark is None:
            if len(self._marks) >= 64 * _STRUCTURES:
                self._marks.clear()
            digest = blake2b(repr(key).encode(), digest_size=16).digest()
            mark = self._marks[key] = int.from_bytes(digest, "little")
        return mark

    def _node(self, number: int) -> _Node:
        """Work out what the digest says of an object, and of what it refers to that is new."""
        known = self._heap.known
        waiting = [number]
        while waiting:
            one = waiting.pop()
            if known[one] is not None:
                continue
            self._out = []
            self._refers = []
            self._write_object(self._heap.objects[one])
            refers = tuple(self._refers)
            mark = self._mark(one, refers)
            known[one] = _Node(self._text(self._out), refers, mark)
            self._structure ^= mark
            self._worked.append(one)
            waiting.extend(refers)
        node: _Node = known[number]
        return node

    def _ask(self, number: int) -> None:
        node = self._heap.known[number]
        if node is not None:
            self._out = []
            self._remembered(self._heap.objects[number])
            self._heap.known[number] = _Node(self._text(self._out), node.refers, node.mark)

    def _frame(self, image: Image) -> _Frame:
        known: _Frame | None = image.said
        if known is not None:
            return known
        coro = image.coro
        self._out = out = []
        self._refers = []
        self._inner = []
        code = coro.cr_code if coro.__class__ is CoroutineType else coro.gi_code
        name = coro.__qualname__
        out.append(f"{name}+{image.position}")
        skip = LOCALS.get(name.rpartition(".")[2], _NOTHING)
        values = image.slots()
        names = (
            *code.co_varnames,
            *(n for n in code.co_cellvars if n not in code.co_varnames),
            *code.co_freevars,
        )
        for variable, value in zip(names, values, strict=False):
            if value is not NULL and variable not in skip:
                out.append(variable)
                self._write_variable(value)
        out.append("|")
        for value in values[len(names) :]:
            if name not in COUNTED or not isinstance(value, _RANGE):
                self._write_variable(value)
        image.said = frame = _Frame(self._text(out), tuple(self._refers), tuple(map(id, self._inner[::-1])))
        return frame

    def _write_variable(self, value: Any) -> None:
        cls = value.__class__
        if cls in _RUNNING:
            self._out.append("runs")
            self._inner.append(value)
        elif value is NULL:
            self._out.append("-")
        elif hasattr(cls, "__next__"):
            parts = value.__reduce__()
            self._out.append(cls.__name__)
            for part in parts[1:] if isinstance(parts, tuple) else ():
                self._write(part)
        else:
            self._write(value)

    # -- values --------------------------------------------------------------------------------

    def _write(self, value: Any) -> None:
        """A value: in words if it has no identity, else as a reference."""
        cls = value.__class__
        if value is None or cls is int or cls is str or cls is bool:
            self._out.append(repr(value))
            return
        if cls is tuple:
            self._out.append(f"({len(value)}")
            for item in value:
                self._write(item)
            return
        if cls is Task:
            self._out.append(f"task {value.ident}")
            return
        if cls is MethodType:
            self._out.append(value.__func__.__qualname__)
            self._write(value.__self__)
            return
        number = self._heap.number(value)
        if number is not None and cls is not Engine:
            self._out.append("#")
            self._refers.append(number)
            return
        self._write_rare(value, cls)

    def _write_rare(self, value: Any, cls: type) -> None:
        out = self._out
        if cls not in self._constants:
            self._constants[cls] = next(
                (key for base, key in CONSTANTS.items() if issubclass(cls, base)), None
            )
        key = self._constants[cls]
        if key is not None:
            out.append(f"{cls.__name__} {key(value)}")
        elif cls is Engine:
            out.append("engine")
        elif cls is FrameType:
            pass
        elif isinstance(value, _NAMED):
            out.append(getattr(value, "__qualname__", None) or cls.__name__)
        elif self._number(value) is not None:
            out.append("#")
            self._refers.append(self._heap.number(value) or 0)
        elif cls.__module__ in ("builtins", "itertools") or isinstance(value, (int, str, float, bytes)):
            out.append(repr(value))
        else:
            # Left alone by the heap: kept from run to run, or never changed.
            out.append(repr(value) if "__repr__" in _defined(cls) else cls.__name__)

    def _write_object(self, value: Any) -> None:
        """What is said of an object where it is met first."""
        cls = value.__class__
        out = self._out
        if cls is dict:
            owned = self._owners.get(id(value))
            if owned is not None and owned[0] is value:
                self._variables(value, owned[1])
            else:
                self._dict(value)
        elif cls is Task:
            self._task(value)
        elif value is self.engine.rec and cls is FunctionType:
            # Who is told of events is no state; a local of model code may refer to it.
            out.append("rec")
        elif cls is CellType:
            try:
                self._write(value.cell_contents)
            except ValueError:
                out.append("empty")
        elif cls is FunctionType:
            out.append(value.__qualname__)
            for cell in value.__closure__ or ():
                self._write(cell)
        elif issubclass(cls, Counter):
            out.append(f"counter{len(value)}")
            for key, item in dict.items(value):
                self._write(key)
                self._write(item)
        elif issubclass(cls, dict):
            self._dict(value)
            self._attributes(value)
        elif issubclass(cls, (set, frozenset)):
            out.append(f"{{{len(value)}")
            for item in sorted(value, key=rank):
                self._write(item)
        elif issubclass(cls, (list, tuple)) or cls.__name__ == "deque":
            out.append(f"{cls.__name__}[{len(value)}")
            for item in value:
                self._write(item)
        elif cls.__name__ == "Oracles" and not self.ledger:
            out.append("oracles")
        elif hasattr(cls, "__digest__"):
            self._asked[self._heap.number(value) or 0] = None
            self._remembered(value)
        else:
            skip = _PATIENCE if issubclass(cls, RwSemCore) and not value.queue else _NOTHING
            self._attributes(value, skip)

    def _remembered(self, value: Any) -> None:
        self._out.append(value.__class__.__name__)
        if self.ledger:
            self._out.append(repr(value.__digest__()))

    def _task(self, task: Task) -> None:
        state = "done" if task.done else "parked" if task.parked_on is not None else "ready"
        self._out.append(f"task {task.ident} {task.name} {state} {task.signal_pending} {task.interruptible}")
        for part in (task.parked_on, task.value, task.result, task.held, task.on_block):
            self._write(part)
        if not task.done:
            self._out.append(task.pending.kind)

    def _dict(self, value: dict[Any, Any]) -> None:
        self._out.append(f"dict{len(value)}")
        items: Iterable[tuple[Any, Any]] = dict.items(value)
        for key, item in items if len(value) < 2 else sorted(items, key=_rank_item):
            self._write(key)
            self._write(item)

    def _layout(self, cls: type) -> tuple[tuple[str, ...], frozenset[str]]:
        layout = self._layouts.get(cls)
        if layout is None:
            layout = self._layouts[cls] = layout_of(cls)
        return layout

    def _attributes(self, value: Any, skip: frozenset[str] = _NOTHING) -> None:
        cls = value.__class__
        slots, _ = self._layout(cls)
        self._out.append(cls.__name__)
        for name in slots:
            if name not in skip:
                try:
                    item = getattr(value, name)
                except AttributeError:
                    self._out.append("-")
                    continue
                self._write(item)
        variables = getattr(value, "__dict__", None)
        if variables is not None:
            self._owners[id(variables)] = variables, cls
            self._write(variables)

    def _variables(self, variables: dict[str, Any], cls: type) -> None:
        _, ignored = self._layout(cls)
        for name in sorted(variables):
            if name not in ignored:
                self._out.append(name)
                self._write(variables[name])

    # -- going back ----------------------------------------------------------------------------

    def mark(self) -> Mark:
        """The present state, to come back to: call it after `digest`, with nothing run in between."""
        heap = self._heap.mark()
        return Mark(
            heap,
            tuple(self._images),
            tuple(self._hanging),
            self._structure,
            len(self._worked),
            len(self.engine.tape),
        )

    def back(self, mark: Mark) -> None:
        """Make everything what it was at `mark`, which is on the way from the start to the present state."""
        engine = self.engine
        for number, task in enumerate(engine.tasks):
            images = mark.images[number] if number < len(mark.images) else {}
            if task in self.ran or number >= len(self._images) or images is not self._images[number]:
                self._put_back(task, images)
        choices = engine.tape.raw[: mark.choices]
        # Where nothing ran since the digest, the run was cut there and nothing has changed.
        self._heap.back(mark.heap, look=bool(self.ran))
        engine.tape = Tape(choices)
        known = self._heap.known
        count = mark.heap[1]
        more = [number for number in dict.fromkeys(self._worked[mark.worked :]) if number < count]
        del self._worked[mark.worked :]
        self._structure = mark.structure
        for number in more:
            # It was not known at the mark, and is now.
            if known[number] is not None:
                self._structure ^= known[number].mark
                self._worked.append(number)
        self._asked = {number: None for number in self._asked if number < count and known[number] is not None}
        self._images = list(mark.images)
        self._hanging = list(mark.hanging)
        self.ran.clear()

    def _put_back(self, task: Task, images: dict[int, Image]) -> None:
        chain = chain_of(task.handle)
        below = dict(zip(map(id, chain), [*map(id, chain[1:]), 0], strict=True))
        for coro in reversed(chain):
            if id(coro) not in images:
                drop(coro)
        for key, image in images.items():
            # What awaits the same as then has not run since.
            if not image.below or below.get(key) != image.below:
                put_back(image)

    def close(self) -> None:
        """Let go of everything, without running any more of it."""
        for task in self.engine.tasks:
            if not task.done:
                for coro in reversed(chain_of(task.handle)):
                    drop(coro)


def _defined(cls: type) -> set[str]:
    """Names that a class or a base of it other than `object` defines."""
    return {name for base in cls.__mro__[:-1] for name in vars(base)}


def _rank_item(item: tuple[Any, Any]) -> tuple[str, str]:
    return rank(item[0])
