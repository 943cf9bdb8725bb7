"""One log taken apart: what each task did, operation by operation, and what happened to each page.

Steps are independent if they are of different tasks and on different pages. Two runs differ only in the
order of such steps if both projections agree: every task took the same steps, and on every page the same
steps happened in the same order. Steps that name no page (taking the invalidate lock, say) only have an order
within their task, and so have those about more pages than `identity` follows one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .identity import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .base import Event
    from .identity import Code, Coder
    from .roles import Page

__all__ = ["ACTOR", "Group", "Projection", "Projector", "page_name"]

#: An actor's event in a page's stream is `actor number * ACTOR + Code.anywhere`.
ACTOR = 1 << 32


class Group(NamedTuple):
    """Operations of one kind by one actor in one place.

    Attributes:
        actor: number of the actor.
        kind: `Code.kind` of the first event.
        first_index, first_gfn: the pages from which the operation counts, as its first event gives them.
    """

    actor: int
    kind: type[Event] | int
    first_index: int | None
    first_gfn: int | None


class Projection:
    """One side of a comparison.

    Attributes:
        groups: the operations of each group, as numbers of their contents, in order.
        sequence: for each actor the groups of its operations, in order.
        pages: for each page its primary events with their actors, in order.
    """

    def __init__(self) -> None:
        self.groups: dict[int, list[int]] = {}
        self.sequence: dict[int, list[int]] = {}
        self.pages: dict[int, list[int]] = {}


class Projector:
    """Makes comparable projections: both sides share its numbers.

    Attributes:
        contents: the codes of each distinct operation, by its number.
        groups: what the number of a group stands for.
        actors: names of the actors, by number.
    """

    def __init__(self, coder: Coder, sides: Iterable[list[tuple[str, Event]]]) -> None:
        self.coder = coder
        self.contents: list[tuple[int, ...]] = []
        self.groups: list[Group] = []
        self.actors: list[str] = []
        self._home: list[Page | None] = []
        self._contents: dict[tuple[int, ...], int] = {}
        self._groups: dict[tuple[Any, ...], int] = {}
        self._actors: dict[str, int] = {}
        self._index_of = _guest_frames(sides)

    def project(self, events: list[tuple[str, Event]]) -> Projection:
        """Take one log apart."""
        # A microsecond an event, of which there may be millions: no call and no look-up more than needed.
        side = Projection()
        coder = self.coder
        code_of = coder.code
        plans = coder.plans
        page_of = self.page_of
        pages = side.pages
        running: dict[str, Operation] = {}
        for actor, event in events:
            plan = plans[event.__class__]
            operation = running.get(actor)
            if operation is not None and operation.open[0][0] is plan:
                # The function is entered again: the last call never returned, or only a later one says so.
                self._finish(side, operation)
                operation = None
            if operation is None:
                operation = running[actor] = Operation(actor, self._number(actor))
            code = code_of(event, operation)
            codes = operation.codes
            if not codes:
                operation.start = operation.index, operation.gfn
            codes.append(code.number)
            page = code.page
            if page is not None and code.primary:
                where = page_of(operation.index, operation.gfn, page)
                stream = pages.get(where)
                if stream is None:
                    stream = pages[where] = []
                stream.append(operation.number * ACTOR + code.anywhere)
            elif code.span is not None:
                self._spread(side, operation, code)
            if plan.is_entry:
                operation.open.append((plan, page))
            elif not operation.open:
                self._finish(side, operation)
                del running[actor]
        for operation in running.values():
            self._finish(side, operation)
        return side

    def _spread(self, side: Projection, operation: Operation, code: Code) -> None:
        """An event about a few pages belongs to the stream of each."""
        if code.span is None or not code.primary:
            return
        (space, offset), count = code.span
        for number in range(count):
            where = self.page_of(operation.index, operation.gfn, (space, offset + number))
            side.pages.setdefault(where, []).append(operation.number * ACTOR + code.anywhere)

    def page_of(self, index: int | None, gfn: int | None, page: Page) -> int:
        """The page that `page` means in an operation that counts from `index` and `gfn`.

        A file index stands for itself, and so does a guest frame whose index is known; other guest frames are
        negative.
        """
        space, offset = page
        if space == "i":
            return (index or 0) + offset
        frame = (gfn or 0) + offset
        known = self._index_of.get(frame)
        return -1 - frame if known is None else known

    def page_in(self, group: int, page: Page | None) -> int | None:
        """The page that `page` means in operations of a group; None stands for the page of the operation.

        The result is None if the operation is about several pages or none, or if there is no telling.
        """
        _, _, index, gfn = self.groups[group]
        if page is None:
            page = self._home[group]
        if page is None:
            return None
        if page[0] == "i" and index is None:
            # Only inner events name the index; it is the one behind the operation's guest frame.
            index = None if gfn is None else self._index_of.get(gfn)
            return None if index is None else index + page[1]
        return self.page_of(index, gfn, page)

    def _number(self, actor: str) -> int:
        """The actor's number."""
        number = self._actors.get(actor)
        if number is None:
            number = self._actors[actor] = len(self.actors)
            self.actors.append(actor)
        return number

    def _finish(self, side: Projection, operation: Operation) -> None:
        """The operation is over: file it."""
        codes = tuple(operation.codes)
        content = self._contents.get(codes)
        if content is None:
            content = self._contents[codes] = len(self.contents)
            self.contents.append(codes)
        actor = operation.number
        group = (actor, self.coder.codes[codes[0]].kind, *operation.start)
        number = self._groups.get(group)
        if number is None:
            number = self._groups[group] = len(self.groups)
            self.groups.append(Group(*group))
            self._home.append(self.coder.codes[codes[0]].page)
        side.groups.setdefault(number, []).append(content)
        side.sequence.setdefault(actor, []).append(number)


def _guest_frames(sides: Iterable[list[tuple[str, Event]]]) -> dict[int, int]:
    """Which file index is behind a guest frame, as the events tell that name both; the first one counts."""
    known: dict[int, int] = {}
    both: dict[type[Event], bool] = {}
    for events in sides:
        for _, event in events:
            cls = event.__class__
            if cls not in both:
                both[cls] = {"gfn", "index"} <= set(cls.__struct_fields__)
            if both[cls]:
                known.setdefault(event.gfn, event.index)  # type: ignore[attr-defined] # as just established
    return known


def page_name(page: int) -> str:
    """A page as `Projector.page_of` numbers them, for people."""
    return str(page) if page >= 0 else f"gfn {-1 - page}"
