"""Search for a placement of the unobserved steps, where the one that the rules choose does not fit.

Best first: of the attempts that failed, the one that came furthest is departed from next, with the fewest departures
(limited discrepancy search; Harvey and Ginsberg, IJCAI 1995). A failed attempt whose conflicting steps were in an order
that was met before is in a state that was met before, and is not gone on from.

An attempt need not begin at the start of the trace. Where the operating system can fork, the process that stands at the
beginning of the window is copied for each, and tells what became of it through a pipe; where it cannot, each attempt
begins at the start.
"""

from __future__ import annotations

import gc
import heapq
import os
import pickle
import signal
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from ..engine.errors import ModelError
from .departing import Departing, Departure
from .result import Rejection

if TYPE_CHECKING:
    from .attempt import How
    from .result import FollowResult

#: Why a trace is undecided whose search was ended by Ctrl-C.
INTERRUPTED: Final = "interrupted while placements were searched for"

#: Steps of the trace after the refused one that an attempt must match before its departures are kept.
_MARGIN: Final = 192
#: The first window, and attempts in one before the next wider one is opened.
_NARROW: Final = 64
_SHARE: Final = 400


#: Things that the model could have done at a refused event, at most.
_OTHERS: Final = 8


@attrs.frozen
class Bounds:
    """How far to look.

    Attributes:
        states: attempts from a window's beginning, over the whole trace.
        seconds: of wall-clock time; None: no limit.
        window: steps of the trace before the refused one whose unobserved steps are placed anew.
        departures: unobserved steps of a window that are placed otherwise than the rules would, at once.
    """

    states: int = 2000
    seconds: float | None = 60.0
    window: int = 1024
    departures: int = 1


class _Outcome(NamedTuple):
    """What became of an attempt: where it failed (the number of steps if it did not), why, and where to depart next."""

    place: int
    rejection: Rejection | None
    trail: int
    alternatives: list[Departure]


class _Window:
    """An attempt that stands at the beginning of a window and can be gone on from again and again."""

    def __init__(self, how: How, base: tuple[Departure, ...], start: int) -> None:
        self._how, self._base, self.start = how, base, start
        self.steps = how.trace.steps
        self._stands = self._begin()

    def _begin(self) -> Departing:
        attempt = Departing(self._how)
        attempt.depart(self._base)
        attempt.walk(0, self.start)
        attempt.forget()
        return attempt

    def run(self, departures: tuple[Departure, ...], last: int) -> _Outcome | None:
        """Go on with these, up to `last`; None if the model cannot take steps in that order at all."""
        if not hasattr(os, "fork"):
            return _go_on(self._begin(), departures, self.start, last)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                # The parent hears signals, and ends this process.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.close(reading)
                answer = pickle.dumps(_go_on(self._stands, departures, self.start, last))
                with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
                    pipe.write(answer)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        try:
            os.close(writing)
            with os.fdopen(reading, "rb") as pipe:
                data = pipe.read()
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.waitpid(child, 0)
        if not data:
            raise RuntimeError("an attempt of the search ended without an answer")
        outcome: _Outcome | None = pickle.loads(data)  # our own child wrote it
        return outcome

    def close(self) -> None:
        """Let go of the tasks."""
        self._stands.close()


def _go_on(attempt: Departing, departures: tuple[Departure, ...], start: int, last: int) -> _Outcome | None:
    steps = attempt.trace.steps
    attempt.depart(departures)
    try:
        rejection = attempt.walk(start, last)
    except ModelError:
        # A step in the place of another can leave a lock that nobody holds: so it was not.
        return None
    if rejection is None:
        return _Outcome(last, None, 0, [])
    failing = attempt.threads[steps[attempt.place].thread]
    return _Outcome(attempt.place, rejection, attempt.trail(), attempt.alternatives(failing))


def search(how: How, bounds: Bounds, place: int, result: FollowResult) -> FollowResult:
    """Look for a placement that fits where the rules' own was refused at `place` of the trace's steps with `result`.

    The result is *undecided* if a limit of `bounds` ended the search, and *rejected* if no placement within the
    window and the number of departures fits.
    """
    began = time.perf_counter()
    could: dict[str, None] = {}
    base: tuple[Departure, ...] = ()
    states = 0
    ended = ""
    gc.freeze()
    try:
        while not result.accepted and not ended:
            found: tuple[Departure, ...] | None = None
            size = min(bounds.window, _NARROW)
            while True:
                window = _Window(how, base, max(0, place - size))
                found, used, ended = _one_window(window, place, bounds, bounds.states - states, began, could)
                window.close()
                states += used
                if found is not None or ended or size >= min(bounds.window, place):
                    break
                size = min(bounds.window, size * 16)
            if found is None:
                break
            base += found
            could.clear()
            attempt = Departing(how)
            attempt.depart(base)
            try:
                rejection = attempt.walk(0, len(how.trace.steps))
            except ModelError:
                break
            result = attempt.result(rejection, 0.0)
            if rejection is not None and attempt.place <= place:
                break
            place = attempt.place
    except KeyboardInterrupt:
        ended = INTERRUPTED
    finally:
        gc.unfreeze()
    placed = f"{len(base):,} placed otherwise than by rule" if base else "all placed by rule"
    notes = [
        *result.notes,
        f"{states:,} placements of unobserved steps were tried beside the rules'; {placed}",
    ]
    if not result.accepted and not ended:
        notes.append(
            f"rejected within these bounds: unobserved steps of the {bounds.window:,} steps before the event, "
            f"{bounds.departures} at once placed otherwise than by rule, more where that went further; what the "
            "rules ask of a step still held, so a run of a kernel can be among what is rejected"
        )
    at = result.rejected_at
    if at is not None:
        others = tuple(reason for reason in could if reason != at.reason)
        result = attrs.evolve(result, rejected_at=attrs.evolve(at, otherwise=others[:_OTHERS]))
    return attrs.evolve(
        result,
        states=states,
        notes=tuple(notes),
        undecided="" if result.accepted else ended,
        seconds=time.perf_counter() - began,
    )


def _one_window(
    window: _Window, place: int, bounds: Bounds, states: int, began: float, could: dict[str, None]
) -> tuple[tuple[Departure, ...] | None, int, str]:
    """Departures with which the step at `place` and some behind it are matched, attempts made, what limit ended it.

    What the model did at `place` in those that failed there goes into `could`.
    """
    last = min(len(window.steps), place + _MARGIN)
    tried: set[frozenset[Departure]] = set()
    trails: set[int] = set()
    queue: list[tuple[int, int, int, tuple[Departure, ...]]] = [(0, 0, 0, ())]
    number = used = 0
    best = place
    while queue:
        if used >= states:
            return None, used, f"no placement was found in {bounds.states:,} (--states)"
        if bounds.seconds is not None and time.perf_counter() - began > bounds.seconds:
            return None, used, f"no placement was found in {bounds.seconds:g} seconds (--max-seconds)"
        departures = heapq.heappop(queue)[3]
        outcome = window.run(departures, last)
        used += 1
        if outcome is None:
            continue
        if outcome.rejection is None:
            return departures, used, ""
        if outcome.place == place:
            could[outcome.rejection.reason] = None
        if outcome.trail in trails:
            continue
        trails.add(outcome.trail)
        depth = len(departures)
        further = outcome.place > best
        best = max(best, outcome.place)
        # Only what came further than all before may be departed from more often.
        if depth >= bounds.departures and not further:
            continue
        for rank, departure in enumerate(outcome.alternatives):
            if departure in departures:
                continue
            following = (*departures, departure)
            key = frozenset(following)
            if key in tried:
                continue
            tried.add(key)
            number += 1
            heapq.heappush(queue, (-outcome.place, depth + 1 + rank // 16, number, following))
    return None, used, ""
