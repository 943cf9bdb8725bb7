"""Where output goes: results on stdout, progress on stderr and only if somebody watches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

__all__ = ["LIMITS", "console", "print_json", "progress"]

#: What every report ends with.
LIMITS = (
    "Virtual time under the model's cost table: for orderings, ratios and scaling. Not seen: weak memory, interrupts, "
    "RCU beyond SRCU, other users of the machine."
)

#: Tables are cut to the terminal; a file or pipe gets them whole.
_WIDE = 140


def console() -> Console:
    """For tables on stdout."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_WIDE, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Say what is going on while it goes on, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
