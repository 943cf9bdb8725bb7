"""Is a run that is made again the same? A search that found nothing is worth something only if it is.

A patch may ask a clock or random numbers, or keep something where a run does not begin anew. What its files keep is
named (`patches.outlives`). Whatever else it is (a file on disk), a run that was made before the search is made again
after it, with the same choices, and has to say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..audit.recorder import Recorder
from ..engine.errors import TapeMismatch
from ..engine.interrupts import TimeUp
from ..engine.strategy import FirstRunnable, ReplayStrategy
from ..patches.sources import ours
from .failure import NotReproduced
from .measure import attempt
from .program import classes_of, operations_of
from .token import log_digest

if TYPE_CHECKING:
    from ..engine.strategy import Strategy
    from ..engine.tape import Tape
    from .runs import Program


@contextmanager
def same_again(program: Program, max_steps: int) -> Iterator[Callable[[], None]]:
    """Around a search; call what it gives if nothing was found. Of a program without a user's code nothing is asked.

    Raises:
        NotReproduced: from the call: the run came to something else.
    """
    made = None
    users = getattr(program, "oracles", None) or operations_of(program)
    if users or not all(map(ours, classes_of(program))):
        # A limit comes again: the search says what a run that has no end came to.
        with suppress(TimeUp):
            made = _run(program, FirstRunnable(), max_steps)
    if made is None:
        yield lambda: None
        return
    failed, tape, first = made

    def look() -> None:
        if failed:
            return
        try:
            _, _, second = _run(program, ReplayStrategy(tape), max_steps)
        except TapeMismatch as error:
            raise NotReproduced(str(error)) from None
        if second != first:
            raise NotReproduced("the log of the first run, made again after the search, is another")

    yield look


def _run(program: Program, strategy: Strategy, max_steps: int) -> tuple[bool, Tape, bytes]:
    recorder = Recorder()
    done = attempt(program, strategy, max_steps=max_steps, rec=recorder.rec)
    return done.failure is not None, done.tape, log_digest(recorder)
