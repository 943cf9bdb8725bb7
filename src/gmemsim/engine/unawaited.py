"""A call of a coroutine without `await` does nothing: in a user's patch it is an error, with the line of the call.

One that is dropped says so itself, by a warning of Python. One that is kept, in an object, an event or a variable of a
module, says nothing: at the end of a run that came to its end, whatever has not begun never will. Coroutines that are
still young are found among the objects that the garbage collector has not looked at, older ones were noted when it did.

An exploring run ends with the step that drops one. What follows could not be told apart from the same without the call:
a search that goes back to a state of the run, or knows states when it meets them again, would take it for right.
"""

from __future__ import annotations

import gc
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from .blame import Blame, foreign, interrupted, shown
from .errors import EngineError

if TYPE_CHECKING:
    from .engine import Engine

_WARNING: Final = re.compile(r"coroutine '([^']*)' was never awaited\n")
_FRAME: Final = re.compile(r" +File \"([^\"]*)\", line (\d+), in (\S+)")
#: Frames of a call: what stands in for a function until it has run (`patches.entered`) may be the innermost two.
_DEPTH: Final = 3
_STAND_INS: Final = ("entered.py", "fitting.py")


class NeverAwaited(Exception):
    """A coroutine of the kernel was made in a user's file and never ran; the message names file, line and callee.

    Attributes:
        place: of the call.
    """

    def __init__(self, text: str, place: Blame) -> None:
        super().__init__(text)
        self.place = place


def _never(callee: str, path: str, line: int, function: str) -> NeverAwaited:
    place = Blame(shown(path), line, function, ())
    return NeverAwaited(f"{place}: {callee} is called without await, and never runs", place)


@contextmanager
def all_awaited(
    *, kept: bool = False, goes_back: bool = False, engine: Engine | None = None
) -> Iterator[None]:
    """Around a run of a user's patch.

    What has not begun when a check or the engine cuts the run short might have been awaited later, and is no error.

    Args:
        kept: look at the end for coroutines, too, that were made before the block; this goes through all objects.
        goes_back: the run may be taken back to an earlier state, and what it left goes on from there.
        engine: of a run, which ends with the step that drops one.

    Raises:
        NeverAwaited: at the end of the block at the latest, in place of what went wrong because of it.
    """
    dropped: list[NeverAwaited] = []
    tell = warnings.showwarning

    def show(message: Warning | str, *rest: Any, **more: Any) -> None:
        match = _WARNING.match(str(message))
        frames = [each for each in _FRAME.findall(str(message)) if not each[0].endswith(_STAND_INS)]
        if match is None or not frames or not foreign(frames[-1][0]):
            tell(message, *rest, **more)
            return
        if _cut_short(sys.exc_info()[1]):
            return
        path, line, function = frames[-1]
        dropped.append(_never(match[1], path, int(line), function))
        # When the collector comes is no matter of the step: such a one is told at the end.
        if engine is not None and not young.collecting:
            engine.ruined = dropped[0]

    depth = sys.get_coroutine_origin_tracking_depth()
    young = _Young(goes_back)
    # What is noted when the collector comes is not dropped any more: an exploring run would end where it came.
    held_off = engine is not None and engine.exploring and not goes_back and gc.isenabled()
    if held_off:
        gc.disable()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="coroutine '.*' was never awaited", category=RuntimeWarning)
        warnings.showwarning = show
        sys.set_coroutine_origin_tracking_depth(max(depth, _DEPTH))
        gc.callbacks.append(young)
        try:
            yield
            # While the collector still tells: to list what is young may make it begin, and then nothing is young.
            dropped += young.kept()
        except BaseException as error:
            if not goes_back:
                young.kept()  # closed, else they would be dropped, and told of, in whatever comes next
            if dropped and error is not dropped[0] and not interrupted(error):
                raise dropped[0] from error
            raise
        finally:
            gc.callbacks.remove(young)
            if held_off:
                gc.enable()
            if engine is not None:
                engine.ruined = None
            sys.set_coroutine_origin_tracking_depth(depth)
        if kept:
            dropped += forever_kept()
    if dropped:
        raise dropped[0]


def _cut_short(error: BaseException | None) -> bool:
    return isinstance(error, (EngineError, GeneratorExit))


class _Young:
    """Coroutines that have not begun, noted before the collector makes them old.

    Args:
        goes_back: of those that are not noted nothing can be said: an earlier state of the run may go on with them.
    """

    def __init__(self, goes_back: bool) -> None:
        # No weak references: the collector may come while a coroutine dies, whose weak references are gone by then.
        self._noted: list[Any] = []
        self._goes_back = goes_back
        #: Ended, or just being made when the collector came: such a one looks as if it had ended until it is made.
        self._unclear: list[Any] = []
        #: The collector is at work.
        self.collecting = False

    def __call__(self, phase: str, _info: object) -> None:
        """For `gc.callbacks`."""
        self.collecting = phase == "start"
        if self.collecting:
            self._note()

    def _note(self) -> None:
        young = [each for each in gc.get_objects(generation=0) if type(each) is CoroutineType]
        self._noted += [each for each in young if _waits(each)]
        self._unclear += [each for each in young if each.cr_frame is None]

    def kept(self) -> list[NeverAwaited]:
        """Those that still have not begun."""
        self._note()
        noted = self._noted if self._goes_back else [*self._noted, *self._unclear]
        return _never_began(list({id(each): each for each in noted}.values()))


def _waits(value: object) -> bool:
    return type(value) is CoroutineType and getcoroutinestate(value) == CORO_CREATED


def _never_began(coroutines: list[Any]) -> list[NeverAwaited]:
    found = []
    for each in coroutines:
        if not _waits(each):
            continue
        origin = [frame for frame in each.cr_origin or () if not frame[0].endswith(_STAND_INS)]
        if origin and foreign(origin[0][0]):
            path, line, function = origin[0]
            found.append(_never(each.__qualname__, path, line, function))
            # Else Python says so again at exit.
            each.close()
    return found


def forever_kept() -> list[NeverAwaited]:
    """Coroutines of users' files that have not begun, among all objects; they are closed."""
    return _never_began([each for each in gc.get_objects() if _waits(each)])
