"""Progress of a search, for people: on stderr, and only if it is a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from .output import status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..explore.campaign import Progress

__all__ = ["watching"]

#: Seconds between two updates of the line.
_EVERY = 0.1


@contextmanager
def watching(title: str) -> Iterator[Callable[[Progress], None] | None]:
    """Gives what a campaign calls with its progress, or None if nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    with status(f"{title} …") as line:
        shown = 0.0

        def show(progress: Progress) -> None:
            nonlocal shown
            now = monotonic()
            if now - shown < _EVERY:
                return
            shown = now
            rate = progress.schedules / progress.seconds if progress.seconds else 0.0
            line.update(
                f"{title}: {progress.schedules:,} schedules, {progress.classes:,} classes, "
                f"{rate:,.0f}/s, depth {progress.depth:,}"
            )

        yield show
