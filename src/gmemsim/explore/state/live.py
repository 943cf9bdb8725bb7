"""States of one run: a digest of each, worked out from what the last step changed, and a way back to it.

The digest tells apart what `digest.StateDigest` tells apart, in another notation. An object is a node: a *text*, its
own plain values, and the nodes that it refers to. Both are worked out anew only when the object has changed. The order
in which nodes are met from the roots, which is what makes the digest canonical, depends on the references alone, so it
is remembered by them; a step that changes no reference costs no walk. Suspended coroutines come last: those that have
not run since are what they were.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...engine.tape import Tape
from . import quick
from .coroutines import Image, chain_of, drop, held_by, put_back, take
from .heap import Heap
from .iterators import NotRestorable, must_be_apart
from .nodes import Nodes
from .symmetry import renamings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...engine.engine import Engine
    from ...engine.task import Task
    from .symmetry import Renaming
    from .texts import Frame

#: Structures remembered before all are forgotten.
_STRUCTURES: Final = 1024


class _Below(NamedTuple):
    """The nodes that only the coroutines of one task lead to, and how they hang together."""

    nodes: bytes
    shape: bytes


class _Order(NamedTuple):
    """The nodes as met from the roots, how they hang together, and by mark of a task what was met behind them.

    `place`, for `quick.meet`, says which are there and where.
    """

    place: Any
    nodes: bytes
    shape: bytes
    hanging: dict[int, _Below]


class _Hanging(NamedTuple):
    """What the digest says of the coroutines of a task: the texts, and how many; all that they refer to, in order.

    The texts as they are, then under each renaming.
    """

    said: tuple[bytes, ...]
    refers: list[int]
    mark: int


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
        groups: names of tasks that are alike (`symmetry.alike`). States in which these are exchanged have the same
            digest, if the state that this is made in is one in which that makes no difference.

    Attributes:
        renamings: under which a state is looked at as well.
        ran: tasks that ran since they were looked at; whoever resumes one adds it.
        changed: objects of which the last digest had to say something else than the state before, coroutines apart.

    Raises:
        NotRestorable: something in it cannot be put back. So do all methods.
    """

    def __init__(self, engine: Engine, *, ledger: bool = True, groups: Iterable[Iterable[str]] = ()) -> None:
        self.engine = engine
        found = renamings(groups, {task.name: task.ident for task in engine.tasks})
        self._make(ledger, found)
        if found:
            plain, *others = self.readings()
            self._make(ledger, [one for one, reading in zip(found, others, strict=True) if reading == plain])

    def _make(self, ledger: bool, renamings: list[Renaming]) -> None:
        engine = self.engine
        self.renamings = renamings
        self.ran: set[Task] = set(engine.tasks)
        self.changed: list[object] = []
        self._heap = Heap(engine)
        self._nodes = Nodes(engine, self._heap, ledger=ledger, renamings=renamings)
        self._orders: dict[tuple[int, int], _Order] = {}
        self._images: list[dict[int, Image]] = [{} for _ in engine.tasks]
        self._no_frames = _Hanging((b"",) * (1 + len(renamings)), [], 0)
        self._hanging: list[_Hanging] = [self._no_frames for _ in engine.tasks]

    # -- digest --------------------------------------------------------------------------------

    def digest(self) -> bytes:
        """16 bytes: equal ones mean that everything that can still happen is the same.

        Or would be, if tasks that are alike were exchanged.
        """
        return min(self.readings())

    def readings(self) -> list[bytes]:
        """What the present state reads as, and under each renaming."""
        heap = self._heap
        known = heap.known
        self.changed = changed = []
        for number in heap.scan():
            node = known[number]
            if node is not None and number not in self._nodes.asked:
                self._nodes.structure ^= node.mark
                known[number] = None
                worked = len(self._nodes.worked)
                if self._nodes.node(number) != node:
                    changed.append(heap.objects[number])
                del self._nodes.worked[worked]
        while len(self._images) < len(self.engine.tasks):
            self.ran.add(self.engine.tasks[len(self._images)])
            self._images.append({})
            self._hanging.append(self._no_frames)
        walks = False
        for task in self.ran if len(self.ran) < 2 else sorted(self.ran, key=_ident):
            self._images[task.ident] = images = self._look_at(task)
            self._hang(task.ident, images)
            walks = walks or any(map(_walks, images.values()))
        self.ran.clear()
        if walks:
            must_be_apart(
                [one for images in self._images for image in images.values() for one in image.walks]
            )
        for number in self._nodes.asked:
            before = known[number]
            self._nodes.ask(number)
            if known[number] != before:
                changed.append(heap.objects[number])
        return [self._reading(view) for view in range(-1, len(self.renamings))]

    def _reading(self, view: int) -> bytes:
        """The digest under a renaming; -1: as it is."""
        order = self._orders.get((self._nodes.structure, view))
        if order is None:
            order = self._walk(view)
        shape = order.shape
        behind: list[bytes] = []
        for ident in self._in_order(view):
            hanging = self._hanging[ident]
            below = order.hanging.get(hanging.mark)
            if below is None:
                below = order.hanging[hanging.mark] = self._walk_below(hanging.refers, order, view)
            shape += below.shape + hanging.said[view + 1]
            behind.append(below.nodes)
        texts = quick.texts(self._heap.known, order.nodes, behind, view)
        return blake2b(shape + texts, digest_size=16).digest()

    def _in_order(self, view: int) -> Iterable[int]:
        """Numbers of the tasks, in the order of their new ones."""
        count = len(self.engine.tasks)
        return range(count) if view < 0 else self.renamings[view].order(count)

    def _hang(self, ident: int, images: dict[int, Image]) -> None:
        """Renew what the coroutines of a task say, and what hangs on them."""
        texts: list[list[int]] = [[0] for _ in range(1 + len(self.renamings))]
        refers: list[int] = []
        for image in images.values():
            frame: Frame = image.said or self._nodes.frame(image)
            # Which of the task's coroutines it holds; the one that it awaits is the next.
            keys = list(images) if image.holds else []
            inner = [keys.index(key) for key in frame.inner] if image.holds else ()
            texts[0].append(frame.text)
            texts[0].extend(inner)
            for number, text in enumerate(frame.views, 1):
                texts[number].append(text)
                texts[number].extend(inner)
            refers += frame.refers
        for row in texts:
            row[0] = len(row)
        known = self._heap.known
        for number in [number for number in refers if known[number] is None]:
            self._nodes.node(number)
        said = tuple(array("q", row).tobytes() for row in texts)
        self._hanging[ident] = _Hanging(said, refers, self._nodes.mark(-1 - ident, tuple(refers)))

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

    def _walk(self, view: int) -> _Order:
        """Meet every node from the roots, in the order of the references."""
        engine = self.engine
        tasks = (engine.tasks[ident] for ident in self._in_order(view))
        roots = (self._nodes.number(root) for root in (*tasks, engine.faults, *engine.roots))
        start = [number for number in roots if number is not None]
        nodes, shape, place = self._meet(start, None, view)
        order = _Order(place, nodes, shape, {})
        if len(self._orders) >= _STRUCTURES * (1 + len(self.renamings)):
            self._orders.clear()
        self._orders[self._nodes.structure, view] = order
        return order

    def _walk_below(self, refers: list[int], order: _Order, view: int) -> _Below:
        """Meet what only the coroutines of a task refer to."""
        nodes, shape, _ = self._meet(refers, order.place, view)
        return _Below(nodes, shape)

    def _meet(self, start: list[int], before: Any, view: int) -> tuple[bytes, bytes, Any]:
        """The nodes behind `start` that are not in `before`, how they hang together, and `_Order.place`."""
        nodes, shape, place = quick.meet(start, before, self._heap.known, self._nodes.node, view)
        return nodes, blake2b(shape, digest_size=16).digest(), place

    # -- going back ----------------------------------------------------------------------------

    def mark(self) -> Mark:
        """The present state, to come back to: call it after `digest`, with nothing run in between."""
        heap = self._heap.mark()
        return Mark(
            heap,
            tuple(self._images),
            tuple(self._hanging),
            self._nodes.structure,
            len(self._nodes.worked),
            len(self.engine.tape),
        )

    def back(self, mark: Mark) -> None:
        """Make everything what it was at `mark`, which is on the way from the start to the present state."""
        engine = self.engine
        tasks = [*engine.tasks]
        choices = engine.tape.raw[: mark.choices]
        # Where nothing ran since the digest, the run was cut there and nothing has changed.
        self._heap.back(mark.heap, look=bool(self.ran))
        # Behind the objects: an iterator is put no further than its list is long.
        for number, task in enumerate(tasks):
            images = mark.images[number] if number < len(mark.images) else {}
            if task in self.ran or number >= len(self._images) or images is not self._images[number]:
                self._put_back(task, images)
        engine.tape = Tape(choices)
        known = self._heap.known
        count = mark.heap[1]
        more = [number for number in dict.fromkeys(self._nodes.worked[mark.worked :]) if number < count]
        del self._nodes.worked[mark.worked :]
        self._nodes.structure = mark.structure
        for number in more:
            # It was not known at the mark, and is now.
            if known[number] is not None:
                self._nodes.structure ^= known[number].mark
                self._nodes.worked.append(number)
        for number in more:
            # It stays known, but what it refers to was worked out after a change that is undone.
            for refer in () if known[number] is None else known[number].refers:
                if known[refer] is None:
                    self._nodes.node(refer)
        self._nodes.asked = {
            number: None for number in self._nodes.asked if number < count and known[number] is not None
        }
        self._images = list(mark.images)
        self._hanging = list(mark.hanging)
        self.ran.clear()

    def _put_back(self, task: Task, images: dict[int, Image]) -> None:
        chain = chain_of(task.handle)
        below = dict(zip(map(id, chain), [*map(id, chain[1:]), 0], strict=True))
        # Generators in variables as well: none of them runs its `finally` when its variable is overwritten.
        for coro in chain[::-1] + held_by(chain):
            if id(coro) not in images:
                drop(coro)
        # What awaits the same as then has not run since.
        put_back([image for key, image in images.items() if not image.below or below.get(key) != image.below])

    def close(self) -> None:
        """Let go of everything, without running any more of it."""
        for task in self.engine.tasks:
            if task.done:
                continue
            if getcoroutinestate(task.handle) == CORO_CREATED:
                # It has not begun, so nothing of it runs.
                task.handle.close()
                continue
            try:
                chain = chain_of(task.handle)
            except NotRestorable:
                # It awaits what is no coroutine. Only its own part is let go of.
                chain = [task.handle]
            for coro in chain[::-1]:
                drop(coro)


def _ident(task: Task) -> int:
    return task.ident


def _walks(image: Image) -> bool:
    return bool(image.walks)
