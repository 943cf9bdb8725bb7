"""Tables that can be read at any width: no name is cut or broken in two while there is another way to show it."""

from __future__ import annotations

from re import compile as regex
from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

#: Rows of more lines than this, on average, are shown heading by heading.
_TALL: Final = 4

#: Words of a line; what the line is indented by cannot be broken off either.
_WORDS: Final = regex(r"^\s+\S+|\S+")

#: Cells of up to so many characters share a line, with this between them.
_SHORT: Final = 24
_BETWEEN: Final = "   "


class FittingConsole(Console):
    """Prints a table with borders if it fits, else without, else each row as lines of `heading: value`."""

    def print(self, *objects: Any, **options: Any) -> None:
        if len(objects) == 1 and isinstance(objects[0], Table):
            objects = tuple(_fitted(self, objects[0]))
        for each in objects:
            super().print(each, **options)


def _fitted(out: Console, table: Table) -> Iterator[RenderableType]:
    if table.title is None and not table.columns:
        yield table
        return
    table.title_justify = table.caption_justify = "left"
    rows = _rows(table)
    # Numbers stay with their units as long as there is room.
    for tight, whole in ((False, True), (True, True), (True, False)):
        if tight:
            table.box, table.padding, table.pad_edge = None, (0, 1, 0, 0), False
        numbers = [column.justify == "right" for column in table.columns]
        needed = [
            _needed(out, column.header, list(column.cells), whole=whole and number)
            for column, number in zip(table.columns, numbers, strict=True)
        ]
        widths = _shared(needed, numbers, out.width - _borders(table))
        if widths is not None and (not table.show_header or _lines(out, rows, widths) <= _TALL * len(rows)):
            for column, width in zip(table.columns, widths, strict=True):
                column.width, column.no_wrap = width, False
            yield table
            return
    if table.title:
        yield Text.assemble((_text(out, table.title).plain, "italic"))
    yield from _records(out, table)
    if table.caption:
        yield Text.assemble((_text(out, table.caption).plain, "dim italic"))


def _records(out: Console, table: Table) -> Iterator[Text]:
    """The first cell of a row alone, the others below it with their headings; what is empty is left out."""
    headings = [_text(out, column.header).plain for column in table.columns]
    for cells in _rows(table):
        texts = [_text(out, cell) for cell in cells]
        named = [
            Text.assemble(f"{heading}: " if heading else "", text) if text.plain else text
            for heading, text in zip(headings, texts, strict=True)
        ]
        title = named[0] if table.columns[0].justify == "right" else texts[0]
        if title.plain:
            title.stylize("bold")
            yield title
        yield from _packed(out, [each for each in named[1:] if each.plain])


def _packed(out: Console, items: Sequence[Text]) -> Iterator[Text]:
    """Short ones side by side, a long one in lines of its own."""
    width = max(out.width - 4, 1)
    line = Text("  ")
    for item in items:
        short = len(item) <= _SHORT and "\n" not in item.plain
        if line.plain.strip() and not (short and line.cell_len + len(_BETWEEN) + item.cell_len <= width):
            yield line
            line = Text("  ")
        if short:
            line += Text(_BETWEEN if line.plain.strip() else "") + item
            continue
        for number, part in enumerate(item.wrap(out, width)):
            part.rstrip()
            yield Text.assemble("    " if number else "  ", part)
    if line.plain.strip():
        yield line


def _rows(table: Table) -> list[tuple[RenderableType, ...]]:
    return list(zip(*(column.cells for column in table.columns), strict=True))


def _text(out: Console, cell: RenderableType) -> Text:
    if isinstance(cell, Text):
        return cell
    return out.render_str(str(cell), highlight=False)


def _needed(
    out: Console, heading: RenderableType, cells: Sequence[RenderableType], *, whole: bool
) -> Measurement:
    """Columns that break no word, and those that break no line; of a whole cell, no line is broken."""
    texts = [_text(out, cell) for cell in (heading, *cells)]
    lines = [line.plain for text in texts for line in text.split(allow_blank=True)]
    least = [cell_len(word) for line in lines for word in _WORDS.findall(line)]
    most = max(map(cell_len, lines))
    if whole:
        least += [text.cell_len for text in texts[1:]]
    return Measurement(max(least, default=0), most)


def _borders(table: Table) -> int:
    """What borders and padding take of a line."""
    columns = len(table.columns)
    _, right, _, left = table.padding
    padding = (right + left) * columns - (0 if table.pad_edge else right + left)
    return padding + (columns + 1 if table.box is not None else 0)


def _shared(needed: Sequence[Measurement], first: Sequence[bool], room: int) -> list[int] | None:
    """Widths that break no word; what is left goes where it is missing. None if there is not enough room.

    Args:
        first: columns that are served before the others.
    """
    least, most = [one.minimum for one in needed], [one.maximum for one in needed]
    spare = room - sum(least)
    if spare < 0:
        return None
    widths = list(least)
    for served in (True, False):
        # Who wants little gets all of it: names stay in one line where text can wrap.
        waiting = sorted(
            (i for i in range(len(widths)) if first[i] is served), key=lambda i: most[i] - least[i]
        )
        for before, index in enumerate(waiting):
            share = min(most[index] - least[index], spare // (len(waiting) - before))
            widths[index] += share
            spare -= share
    return widths


def _lines(out: Console, rows: Sequence[Sequence[RenderableType]], widths: Sequence[int]) -> int:
    """Lines of all rows."""
    total = 0
    for cells in rows:
        tallest = 1
        for cell, width in zip(cells, widths, strict=True):
            text = _text(out, cell)
            if text.cell_len > width or "\n" in text.plain:
                tallest = max(tallest, len(text.wrap(out, max(width, 1))))
        total += tallest
    return total
