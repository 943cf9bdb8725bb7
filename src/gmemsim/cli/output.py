"""Where output goes: results on stdout, progress on stderr and only if somebody watches."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from ..audit.bounded import clean
from ..engine.interrupts import deaf

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.status import Status
    from rich.table import Table

#: What every report ends with.
LIMITS = (
    "Virtual time under the model's cost table: for orderings, ratios and scaling. Not seen: weak memory, interrupts, "
    "RCU beyond SRCU, other users of the machine."
)

#: Output is as wide as the terminal, or COLUMNS; a file or pipe gets this much.
_WIDE = 140


def console() -> Console:
    """For tables on stdout. Text is text there: brackets in a name are no markup."""
    from .tables import FittingConsole

    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return FittingConsole(markup=False, emoji=False)
    return FittingConsole(width=_WIDE, highlight=False, markup=False, emoji=False)


def table(
    title: str | None,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]] = (),
    *,
    numbers: Container[str] = (),
) -> Table:
    """A table for `console()`; headings that are `numbers` stand right, with what is below them."""
    from rich.table import Table

    made = Table(title=title)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def say(text: str) -> None:
    """A line of prose on stdout: wrapped between words for a reader, whole for a file or pipe."""
    if (sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()) and text:
        start = text[: len(text) - len(text.lstrip())]
        wide = max(shutil.get_terminal_size().columns, 20)
        text = "\n".join(
            wrap(
                text.lstrip(),
                wide,
                initial_indent=start,
                subsequent_indent=f"{start}  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    click.echo(text)


def watched() -> bool:
    """Whether stderr can show a line that changes."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def status(text: str) -> Status:
    """A spinner with a text on stderr."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False).status(clean(text, 200))


def colored(out: Console) -> bool:
    """Whether text that is not rich's own may have colours: a terminal that has them, and NO_COLOR is not set."""
    return out.is_terminal and out.color_system is not None and not out.no_color


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:
        # A file name that is no UTF-8.
        encoded = msgspec.json.encode(_readable(msgspec.to_builtins(document, str_keys=True)))
    with deaf():
        # What was found is told, however impatient the user is by now.
        click.echo(msgspec.json.format(encoded, indent=2).decode())


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if isinstance(value, dict):
        return {_readable(key): _readable(inner) for key, inner in value.items()}
    return [_readable(each) for each in value] if isinstance(value, list) else value


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Say what is going on while it goes on, if stderr is a terminal."""
    if not watched():
        yield
        return
    with status(text):
        yield
