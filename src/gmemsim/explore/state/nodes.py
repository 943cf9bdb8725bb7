"""What the digest says of one object, or of one suspended coroutine: its own plain values, and what it refers to."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from functools import partial
from hashlib import blake2b
from itertools import chain, repeat
from marshal import dumps
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from ...engine.engine import Engine
from ...engine.locks.rwsem_core import RwSemCore
from ...engine.task import Task
from . import quick
from .contents import UNSET, parts_of_function
from .digest import layout_of, rank, said
from .frames import code_of
from .ignored import locals_left_out, only_counts
from .orders import Orders
from .texts import Frame, Node, Texts, words_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .coroutines import Image
    from .heap import Heap
    from .symmetry import Renaming

#: Makes one of a NamedTuple without the function that it calls for it.
_new: Final = tuple.__new__
_RUNNING: Final = (CoroutineType, GeneratorType)
_RANGE: Final = type(iter(range(1)))
_PLAIN: Final = frozenset({type(None), bool, int, str})
#: On the heap, and yet in words.
_IN_WORDS: Final = (Task, Engine)
_ITERATORS: Final[set[type]] = set()
_NOTHING: Final[frozenset[str]] = frozenset()
_WAIT_TIMEOUT: Final = frozenset({"_wait_timeout"})
#: Marks remembered before all are forgotten.
_MARKS: Final = 1 << 16


class Nodes:
    """Works out nodes and frames, and remembers them: nodes in `Heap.known`, frames in their images.

    Args:
        renamings: under which everything is worked out as well (`symmetry`).

    Attributes:
        structure: key of all references between the nodes that are known.
        worked: numbers of nodes that were worked out although their object had not changed.
        asked: numbers of objects that say themselves what they remember; to be asked at every digest.
    """

    def __init__(
        self, engine: Engine, heap: Heap, *, ledger: bool, renamings: Sequence[Renaming] = ()
    ) -> None:
        self.engine = engine
        self.ledger = ledger
        self.renamings = renamings
        self.structure = 0
        self.worked: list[int] = []
        self.asked: dict[int, None] = {}
        self._heap = heap
        self._texts = Texts(renamings)
        self._marks: dict[tuple[int, tuple[int, ...]], int] = {}
        #: By class and what its object remembers, what is said of that.
        self._said: dict[tuple[type, bytes], tuple[int, Any]] = {}
        self._layouts: dict[type, tuple[tuple[str, ...], frozenset[str]]] = {}
        self._codes: dict[CodeType, tuple[str, frozenset[int], bool]] = {}
        #: By class of what is not on the heap, how it is written.
        self._words: dict[type, Callable[[Any], str]] = {}
        #: Whose attributes a dict holds: by id, with the dict itself.
        self._owners: dict[int, tuple[Any, type]] = {}
        self._orders = Orders(engine.ordered)
        # Of the node or frame that is being written.
        self._out: list[str] = []
        self._refers: list[int] = []
        self._inner: list[Any] = []
        #: The renaming under which keys are put in order, and whether one of all makes another order.
        self._under: Renaming | None = None
        self._reordered = False

    # -- nodes and frames ----------------------------------------------------------------------

    def number(self, value: Any) -> int | None:
        """Number of an object on the heap, taken in if it is not there yet; None for a plain value."""
        number = self._heap.numbers.get(id(value))
        if number is None:
            self._heap.add(value)
            number = self._heap.numbers.get(id(value))
        return number

    def _views(
        self, value: Any, text: int, refers: tuple[int, ...]
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """What is said of an object under each renaming; `_write` has just said what is without."""
        if not self._reordered:
            return tuple((view, refers) for view in self._texts.views(text))
        found = []
        for index, renaming in enumerate(self.renamings):
            self._under = renaming
            self._out = []
            self._refers = []
            self._write_object(value)
            found.append((self._texts.views(self._texts.number(self._out))[index], tuple(self._refers)))
        self._under = None
        self._reordered = False
        return tuple(found)

    def mark(self, number: int, refers: tuple[int, ...]) -> int:
        key = (number, refers)
        mark = self._marks.get(key)
        if mark is None:
            if len(self._marks) >= _MARKS:
                self._marks.clear()
            digest = blake2b(repr(key).encode(), digest_size=16).digest()
            mark = self._marks[key] = int.from_bytes(digest, "little")
        return mark

    def node(self, number: int) -> Node:
        """Work out what the digest says of an object, and of what it refers to that is new."""
        known = self._heap.known
        waiting = [number]
        while waiting:
            one = waiting.pop()
            if known[one] is not None:
                continue
            self._out = []
            self._refers = []
            value = self._heap.objects[one]
            self._write_object(value)
            text, refers = self._texts.number(self._out), tuple(self._refers)
            views = self._views(value, text, refers) if self.renamings else ()
            mark = self.mark(one, sum((more for _, more in views), refers))
            known[one] = _new(Node, (text, refers, mark, views))
            self.structure ^= mark
            self.worked.append(one)
            waiting.extend(refers)
        node: Node = known[number]
        return node

    def ask(self, number: int) -> None:
        node = self._heap.known[number]
        if node is None or not self.ledger:
            return
        value = self._heap.objects[number]
        remembers = value.__digest__()
        try:
            # Of two values with the same bytes the types are the same too, which `==` does not say.
            key = value.__class__, dumps(remembers, 2)
            text, views = self._said.get(key) or self._say(value, node, key)
        except ValueError:
            text, views = self._say(value, node, None)
        self._heap.known[number] = _new(Node, (text, node.refers, node.mark, views))

    def _say(self, value: Any, node: Node, key: tuple[type, bytes] | None) -> tuple[int, Any]:
        """What an object that says itself what it remembers says now, by number, and under each renaming."""
        self._out = []
        self._remembered(value)
        text = self._texts.number(self._out)
        found = text, self._views(value, text, node.refers) if self.renamings else ()
        if key is not None:
            if len(self._said) >= _MARKS:
                self._said.clear()
            self._said[key] = found
        return found

    def frame(self, image: Image) -> Frame:
        known: Frame | None = image.said
        if known is not None:
            return known
        coro = image.coro
        self._out = out = []
        self._refers = []
        self._inner = []
        code = code_of(coro)
        where, skip, counted = self._codes.get(code) or self._look_at_code(code, coro.__qualname__)
        # An address in the code; the same place in it has the same distance in every process.
        out.append(f"{where}+{image.position - id(code)}")
        other = self._write_uncounted if counted else self._write_variable
        quick.write_frame(image.words(), skip, out, self._refers, self._heap.numbers, other, image.owned)
        text = self._texts.number(out)
        inner = tuple(map(id, self._inner))
        image.said = frame = Frame(text, tuple(self._refers), inner, self._texts.views(text))
        return frame

    def _look_at_code(self, code: CodeType, name: str) -> tuple[str, frozenset[int], bool]:
        """What a function is called, places in its frames that are no state, and whether its loop only counts."""
        left_out = locals_left_out(code, name)
        cells = (name for name in code.co_cellvars if name not in code.co_varnames)
        names = (*code.co_varnames, *cells, *code.co_freevars)
        skip = frozenset(place for place, name in enumerate(names) if name in left_out)
        # Two functions without a name of their own may begin in the same line.
        columns = crc32(repr((code.co_code, list(code.co_positions()))).encode())
        where = f"{code.co_filename}:{code.co_firstlineno}:{columns} {name}"
        found = self._codes[code] = where, skip, only_counts(code, name)
        return found

    def _write_uncounted(self, value: Any) -> None:
        """The same where a loop only counts."""
        if value.__class__ is not _RANGE:
            self._write_variable(value)

    def _write_variable(self, value: Any) -> None:
        """A local, or an entry of a stack, that is neither plain nor on the heap."""
        cls = value.__class__
        if cls in _RUNNING:
            self._out.append("runs")
            self._inner.append(value)
        elif cls in _ITERATORS or hasattr(cls, "__next__"):
            _ITERATORS.add(cls)
            if cls is repeat:
                self._out.append(repr(value))
                return
            parts = value.__reduce__()
            self._out.append(cls.__name__)
            if isinstance(parts, tuple):
                _, over, *state = parts
                self._out.append(f"({len(over)}")
                for part in over:
                    # An iterator over another one has that to itself.
                    self._write_variable(part)
                self._write_all(state)
        else:
            self._write(value)

    # -- values --------------------------------------------------------------------------------

    def _write_all(self, values: Iterable[Any]) -> None:
        """Values: in words if they have no identity, else as references."""
        quick.write(values, self._out, self._refers, self._heap.numbers, _IN_WORDS, self._write)

    def _write(self, value: Any) -> None:
        """One value."""
        cls = value.__class__
        out = self._out
        if cls in _PLAIN:
            out.append(repr(value))
        elif cls is tuple:
            out.append(f"({len(value)}")
            self._write_all(value)
        elif cls is Task:
            # One of the engine that brought about the initial state is none of those that may be renamed.
            out.append(f"{'' if value.engine is self.engine else 'former '}task {value.ident}")
        elif cls is MethodType:
            out.append(value.__func__.__qualname__)
            self._write(value.__self__)
        elif cls is BuiltinMethodType:
            out.append(value.__qualname__)
            self._write(value.__self__)
        elif cls is Engine:
            out.append("engine")
        elif value is UNSET:
            out.append("-")
        else:
            number = self._heap.numbers.get(id(value))
            if number is not None:
                out.append("#")
                self._refers.append(number)
            else:
                self._write_rare(value, cls)

    def _write_rare(self, value: Any, cls: type) -> None:
        """A value that is not on the heap."""
        words = self._words.get(cls)
        if words is None:
            number = self.number(value)
            if number is not None:
                self._out.append("#")
                self._refers.append(number)
                return
            words = self._words[cls] = words_for(cls)
        self._out.append(words(value))

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
            self._write_all(parts_of_function(value))
        elif issubclass(cls, Counter):
            out.append(f"counter{len(value)}")
            self._write_all(chain.from_iterable(dict.items(value)))
        elif issubclass(cls, dict):
            self._dict(value)
            self._attributes(value)
        elif issubclass(cls, (set, frozenset)):
            out.append(f"{{{len(value)}")
            self._write_all(self._in_order(list(value), rank))
        elif issubclass(cls, (list, tuple, deque, array)):
            out.append(f"{cls.__name__}[{len(value)}")
            self._write_all(value)
        elif cls is partial:
            out.append("partial")
            self._write_all((value.func, value.args, value.keywords, value.__dict__))
        elif cls.__name__ == "Oracles" and not self.ledger:
            out.append("oracles")
        elif hasattr(cls, "__digest__"):
            self.asked[self._heap.numbers[id(value)]] = None
            self._remembered(value)
        else:
            skip = _WAIT_TIMEOUT if issubclass(cls, RwSemCore) and not value.queue else _NOTHING
            self._attributes(value, skip)

    def _remembered(self, value: Any) -> None:
        self._out.append(value.__class__.__name__)
        if self.ledger:
            self._out.append(said(value.__digest__(), self._texts_in_order))

    def _texts_in_order(self, texts: list[str]) -> list[str]:
        return self._in_order(texts, _as_rank)

    def _task(self, task: Task) -> None:
        state = "done" if task.done else "parked" if task.parked_on is not None else "ready"
        self._out.append(f"task {task.ident} {task.name} {state} {task.signal_pending} {task.interruptible}")
        self._write_all((task.parked_on, task.value, task.result, task.held, task.on_block))
        if not task.done:
            self._out.append(task.pending.kind)

    def _dict(self, value: dict[Any, Any]) -> None:
        self._out.append(f"dict{len(value)}")
        items = list(dict.items(value))
        as_it_is = self._orders.counts_in(value)
        self._write_all(chain.from_iterable(items if as_it_is else self._in_order(items, _rank_item)))

    def _in_order(self, values: list[Any], key: Callable[[Any], tuple[str, str]]) -> list[Any]:
        """What has no order of its own, by rank: under the new names, if there are any."""
        if len(values) > 1:
            if self._under is None:
                values.sort(key=key)
                self._reordered |= any(
                    one.rank(key(value)) != key(value) for one in self.renamings for value in values
                )
            else:
                under = self._under.rank
                values.sort(key=lambda value: under(key(value)))
        return values

    def _layout(self, cls: type) -> tuple[tuple[str, ...], frozenset[str]]:
        layout = self._layouts.get(cls)
        if layout is None:
            layout = self._layouts[cls] = layout_of(cls)
        return layout

    def _attributes(self, value: Any, skip: frozenset[str] = _NOTHING) -> None:
        cls = value.__class__
        slots, _ = self._layout(cls)
        self._out.append(cls.__name__)
        values = [getattr(value, name, UNSET) for name in slots if name not in skip]
        self._orders.keeps(cls, zip([name for name in slots if name not in skip], values, strict=True))
        self._write_all(values)
        variables = getattr(value, "__dict__", None)
        if variables is not None:
            self._owners[id(variables)] = variables, cls
            self._write(variables)

    def _variables(self, variables: dict[str, Any], cls: type) -> None:
        _, ignored = self._layout(cls)
        names = sorted(name for name in variables if name not in ignored)
        self._out += names
        self._orders.keeps(cls, variables.items())
        self._write_all([variables[name] for name in names])


def _as_rank(text: str) -> tuple[str, str]:
    return "", text


def _rank_item(item: tuple[Any, Any]) -> tuple[str, str]:
    return rank(item[0])
