"""A canonical digest of everything that a run's future depends on.

Reached from the tasks: each one's chain of suspended coroutines with position, locals and stack (`frames`), what it is
parked on, its signal and its result; and from there, and from `Engine.roots`, every object that can be reached. The
budgets of the fault points count too. Identity is state and addresses are not: an object is written out where it is
met first and referred to by number afterwards. Sets, and dicts whose order no code asks for, are written in the
order of their keys.

Two runs with equal digests can do the same things from here on, up to what `ignored` leaves out. Digests are made for
comparing within one search; they are not stable over versions.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, deque
from enum import Enum
from functools import partial
from hashlib import blake2b
from itertools import repeat
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, Final

from ...engine.engine import Engine
from ...engine.locks.rwsem_core import RwSemCore
from ...engine.task import Task
from .contents import has_more_than_its_value, hides, own_slots, parts_of_function, plain_text
from .frames import code_of, look_into
from .ignored import ATTRIBUTES, CONSTANTS, locals_left_out, only_counts
from .orders import Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_WALKED: Final[tuple[Any, ...]] = (
    [], (), {}, {}.values(), {}.items(), set(), "", range(1), range(1 << 70), deque(),
)  # fmt: skip
_ITERATORS: Final = (*(type(iter(of)) for of in _WALKED), enumerate, zip, reversed, type(reversed([])))
_RANGE_ITERATOR: Final = type(iter(range(1)))
_NOTHING: Final[frozenset[str]] = frozenset()
_BY_NAME: Final = (ModuleType, type, CodeType)


class StateDigest:
    """Makes digests of engines of one search; keep it, since it remembers how classes are laid out.

    Args:
        ledger: include what the oracles remember (see `explore.strategies.stateful`).
    """

    def __init__(self, *, ledger: bool = True) -> None:
        self.ledger = ledger
        self._layouts: dict[type, tuple[tuple[str, ...], frozenset[str]]] = {}
        self._writers: dict[type, Callable[[Any], None]] = {}
        self._out: list[str] = []
        self._seen: dict[int, int] = {}
        self._keep: list[Any] = []
        self._hidden_so_far = 0
        self._orders = Orders(counts=False)

    def of(self, engine: Engine) -> bytes:
        """The digest of a run between two steps: 16 bytes."""
        return blake2b(
            "\x1f".join(self.text(engine)).encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()

    def text(self, engine: Engine) -> list[str]:
        """What the digest is made of, for tests and for who wonders why two states differ."""
        self._out = out = []
        self._seen = {}
        self._keep = []
        self._orders = Orders(engine.ordered)
        rec: Any = engine.rec
        if isinstance(rec, FunctionType):
            # Who is told of events is no state; a local of model code may refer to it.
            self._seen[id(rec)] = 0
        for task in engine.tasks:
            self._task(task)
        out.append("faults")
        self._dict(engine.faults)
        out.append("roots")
        for root in engine.roots:
            self._write(root)
        self._keep.clear()
        return out

    # -- tasks ---------------------------------------------------------------------------------

    def _task(self, task: Task) -> None:
        state = "done" if task.done else "parked" if task.parked_on is not None else "ready"
        self._out.append(
            f"\ntask {task.ident} {task.name} {state} {task.signal_pending} {task.interruptible}"
        )
        for part in (task.parked_on, task.value, task.result, task.held, task.on_block):
            self._write(part)
        if not task.done:
            self._out.append(task.pending.kind)
            self._write(task.handle)

    def _suspended(self, coro: Any) -> None:
        if self._again(coro):
            return
        found = look_into(coro)
        if found is None:
            self._out.append("ended")
            return
        name, position, variables, stack = found
        self._out.append(f"{name}+{position}")
        code = code_of(coro)
        skip = locals_left_out(code, name)
        # Sorted: the order of the dict depends on which variables had a value when somebody last looked.
        for variable in sorted(variables):
            if variable not in skip:
                self._out.append(variable)
                self._write(variables[variable])
        self._out.append("|")
        for value in stack:
            if not isinstance(value, _RANGE_ITERATOR) or not only_counts(code, name):
                self._write(value)

    # -- values --------------------------------------------------------------------------------

    def _write(self, value: Any) -> None:
        cls = value.__class__
        if value is None or cls is int or cls is str or cls is bool:
            self._out.append(repr(value))
            return
        writer = self._writers.get(cls)
        if writer is None:
            writer = self._writers[cls] = self._writer(cls)
        writer(value)

    def _writer(self, cls: type) -> Callable[[Any], None]:
        """How objects of a class are written."""
        for base, key in CONSTANTS.items():
            if issubclass(cls, base):
                return lambda value: self._out.append(f"{cls.__name__} {key(value)}")
        exact: dict[type, Callable[[Any], None]] = {
            Task: lambda task: self._out.append(f"task {task.ident}"),
            Engine: lambda _: self._out.append("engine"),
            FrameType: lambda _: None,
            CellType: self._cell,
            CoroutineType: self._suspended,
            GeneratorType: self._suspended,
            FunctionType: self._function,
            MethodType: self._method,
            BuiltinMethodType: self._built_in_method,
            MappingProxyType: self._proxy,
            partial: self._partial,
            tuple: self._tuple,
            # Not reduced: from 3.12 on that warns, and 3.14 cannot.
            repeat: lambda value: self._out.append(repr(value)),
        }
        if cls in exact:
            return exact[cls]
        if has_more_than_its_value(cls):
            return self._plain_and_more
        if issubclass(cls, (float, complex, bytes, str, int, Enum, range, slice)):
            return lambda value: self._out.append(repr(value))
        if issubclass(cls, (Counter, OrderedDict)):
            return self._ordered
        for kind, writer in (
            (dict, self._mapping),
            ((list, deque, tuple, array), self._sequence),
            ((set, frozenset), self._set),
            (_BY_NAME, self._named),
            (_ITERATORS, self._reduced),
        ):
            if issubclass(cls, kind):  # type: ignore[arg-type] # classes and tuples of classes
                return writer
        if cls.__module__ == "itertools":
            return self._hidden
        if issubclass(cls, RwSemCore):
            return self._rwsem
        if cls.__name__ == "Oracles" and not self.ledger:
            return lambda _: self._out.append("oracles")
        if hasattr(cls, "__digest__"):
            return self._remembered
        return self._hidden if hides(cls) else self._object

    def _remembered(self, value: Any) -> None:
        # An oracle that says by itself what it remembers, in plain values.
        if self.ledger and not self._again(value):
            self._out.append(value.__class__.__name__)
            self._out.append(said(value.__digest__()))

    def _again(self, value: Any) -> bool:
        """Whether the object was written before; then its number is."""
        key = id(value)
        number = self._seen.get(key)
        if number is not None:
            self._out.append(f"@{number}")
            return True
        self._seen[key] = len(self._seen)
        return False

    def _tuple(self, value: tuple[Any, ...]) -> None:
        # A plain tuple is a value: whether two equal ones are the same object is the interpreter's business.
        self._out.append(f"({len(value)}")
        for item in value:
            self._write(item)

    def _sequence(self, value: Any) -> None:
        if not self._again(value):
            self._out.append(f"{value.__class__.__name__}[{len(value)}")
            for item in value:
                self._write(item)

    def _set(self, value: Iterable[Any]) -> None:
        if not self._again(value):
            items = sorted(value, key=rank)
            self._out.append(f"{{{len(items)}")
            for item in items:
                self._write(item)

    def _mapping(self, value: dict[Any, Any]) -> None:
        if not self._again(value):
            self._dict(value)
            if value.__class__ is not dict:
                # Such as a page cache of huge folios, whose entries are only a part of what it holds.
                self._attributes(value)

    def _proxy(self, value: MappingProxyType[Any, Any]) -> None:
        if not self._again(value):
            self._dict(dict(value))

    def _dict(self, value: dict[Any, Any]) -> None:
        self._out.append(f"dict{len(value)}")
        items = dict.items(value)
        for key, item in items if self._orders.counts_in(value) else sorted(items, key=rank_item):
            self._write(key)
            self._write(item)

    def _ordered(self, value: dict[Any, Any]) -> None:
        # Of a tally the first entry that is not `ok` is the outcome of an operation.
        if not self._again(value):
            self._out.append(f"counter{len(value)}")
            for key, item in dict.items(value):
                self._write(key)
                self._write(item)

    def _named(self, value: Any) -> None:
        self._out.append(getattr(value, "__qualname__", None) or value.__class__.__name__)

    def _reduced(self, value: Any, protocol: int = 0) -> None:
        if not self._again(value):
            parts = value.__reduce_ex__(protocol)
            self._keep.append(parts)
            self._out.append(value.__class__.__name__)
            for part in parts[1:]:
                self._write(part)

    def _hidden(self, value: Any) -> None:
        """What a class written in C gives away for a copy of its object."""
        try:
            self._reduced(value, 4)
        except TypeError:
            # Another one every time: no state with it is taken for known.
            self._hidden_so_far += 1
            self._out.append(f"{value.__class__.__name__} {self._hidden_so_far}")

    def _cell(self, value: Any) -> None:
        if not self._again(value):
            try:
                self._write(value.cell_contents)
            except ValueError:
                self._out.append("empty")

    def _function(self, value: Any) -> None:
        if not self._again(value):
            self._out.append(value.__qualname__)
            for part in parts_of_function(value):
                self._write(part)

    def _method(self, value: Any) -> None:
        self._out.append(value.__func__.__qualname__)
        self._write(value.__self__)

    def _built_in_method(self, value: Any) -> None:
        self._out.append(value.__qualname__)
        self._write(value.__self__)

    def _partial(self, value: Any) -> None:
        if not self._again(value):
            self._out.append("partial")
            for part in (value.func, value.args, value.keywords, value.__dict__):
                self._write(part)

    def _plain_and_more(self, value: Any) -> None:
        if not self._again(value):
            self._out.append(plain_text(value))
            self._attributes(value)

    def _rwsem(self, value: RwSemCore) -> None:
        # While nobody is queued, whose deadline has passed is nobody's concern.
        self._object(value, _NOTHING if value.queue else frozenset({"_wait_timeout"}))

    def _object(self, value: Any, skip: frozenset[str] = _NOTHING) -> None:
        if not self._again(value):
            self._attributes(value, skip)

    def _attributes(self, value: Any, skip: frozenset[str] = _NOTHING) -> None:
        cls = value.__class__
        layout = self._layouts.get(cls)
        if layout is None:
            layout = self._layouts[cls] = layout_of(cls)
        slots, ignored = layout
        self._out.append(cls.__name__)
        for name in slots:
            if name not in skip:
                try:
                    item = getattr(value, name)
                except AttributeError:
                    self._out.append("-")
                    continue
                self._orders.keeps(cls, ((name, item),))
                self._write(item)
        variables = getattr(value, "__dict__", None)
        if variables:
            self._orders.keeps(cls, variables.items())
            for name in sorted(variables):
                if name not in ignored and name not in skip:
                    self._out.append(name)
                    self._write(variables[name])


def said(value: Any, in_order: Callable[[list[str]], list[str]] = sorted) -> str:
    """Plain values; what is in a frozenset has no order but the one that `in_order` gives to what is said of it."""
    cls = value.__class__
    if cls is tuple:
        return f"({','.join([said(one, in_order) for one in value])})"
    if cls is frozenset:
        return f"{{{','.join(in_order([said(one, in_order) for one in value]))}}}"
    return repr(value)


def layout_of(cls: type) -> tuple[tuple[str, ...], frozenset[str]]:
    """The slots of a class that are state, and the attributes that are not."""
    ignored: set[str] = set()
    slots: list[str] = []
    for base in cls.__mro__:
        ignored |= ATTRIBUTES.get(base, _NOTHING)
        ignored.update(vars(base).get("__digest_skip__", ()))
        slots += own_slots(base)
    # msgspec structs list their fields apart from their slots.
    slots += getattr(cls, "__struct_fields__", ())
    kept = {name for name in slots if name not in ignored and name not in ("__dict__", "__weakref__")}
    return tuple(sorted(kept)), frozenset(ignored)


def rank_item(item: tuple[Any, Any]) -> tuple[str, str]:
    return rank(item[0])


def rank(key: Any) -> tuple[str, str]:
    """Where a key of a set or dict goes: by value, or by the name that the object has in the model."""
    if isinstance(key, Task):
        return "task", f"{key.ident:08}"
    if isinstance(key, (int, str, bytes, float, tuple)) or key is None:
        return key.__class__.__name__, repr(key)
    return key.__class__.__name__, str(getattr(key, "label", ""))
