"""Whose code raised an exception: the model's, a user's patch, or the user with Ctrl-C."""

from __future__ import annotations

import dis
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

_PACKAGE: Final = str(Path(__file__).resolve().parents[1])
_PYTHON: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
#: Lines of a traceback that are shown.
_EXCERPT: Final = 8
_ENDS: Final = (SystemExit, GeneratorExit, KeyboardInterrupt)
_RAISE: Final = frozenset({dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"]})


class Escaped(Exception):
    """Model code raised what would end the process without a word: SystemExit, GeneratorExit or KeyboardInterrupt.

    The exception itself is the cause.
    """


class Blame(NamedTuple):
    """A place in a user's file.

    Attributes:
        path, line, function: of the innermost frame there.
        excerpt: the traceback from the user's first frame on, as Python shows it, a line each.
    """

    path: str
    line: int
    function: str
    excerpt: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}, {self.function}"


def interrupted(error: BaseException) -> bool:
    """Whether `error` is a real Ctrl-C (or the like), and not one that some code raised by itself."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return True
    code = trace.tb_frame.f_code
    # Under the Trio runtime it is Trio's handler that raises it.
    by_trio = str(trace.tb_frame.f_globals.get("__name__", "")).startswith("trio.")
    return by_trio or _ours(code.co_filename) or code.co_code[trace.tb_lasti] not in _RAISE


@contextmanager
def model_code() -> Iterator[None]:
    """Around code that may be a user's: what ends the process elsewhere is an error like any other here.

    Raises:
        Escaped: in place of SystemExit, GeneratorExit, a KeyboardInterrupt that nobody pressed, and any other exception
            from a user's file that is no `Exception`.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        trace = error.__traceback__
        if isinstance(error, GeneratorExit) and trace is not None and trace.tb_next is None:
            raise  # nobody's code raised it: this generator itself is closed, after an interrupt at the block's edge
        if interrupted(error) or not (isinstance(error, _ENDS) or users_own(error)):
            # What others use to unwind, as Trio and Hypothesis do, is theirs.
            raise
        raise Escaped(said(error)) from error


def users_own(error: BaseException) -> bool:
    """Whether a user's file raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and foreign(trace.tb_frame.f_code.co_filename)


def blame(error: BaseException) -> Blame | None:
    """Where in a user's file the error arose; None if no frame of its traceback is in one.

    Frames before the first of this package are the caller's, a test's for instance, and not a patch's. An error of ours
    about a user's code has the place itself (`place`).
    """
    known = getattr(error, "place", None)
    if isinstance(known, Blame):
        return known
    found = _place(error, False)
    while found is None and error.__cause__ is not None:
        # What Python or we made of it: a StopIteration in a coroutine is a RuntimeError, an exit `Escaped`. The cause
        # was caught inside of us, so its traceback has no caller.
        error = error.__cause__
        found = _place(error, True)
    return found


def _place(error: BaseException, inner: bool) -> Blame | None:
    frames = list(_frames(error.__traceback__))
    inside = next((number for number, frame in enumerate(frames) if _ours(frame[0].filename)), len(frames))
    inside = -1 if inner else inside
    users = [number for number, frame in enumerate(frames) if number > inside and foreign(frame[0].filename)]
    if not users:
        return None
    last = frames[users[-1]][0]
    lines = traceback.format_list([frame for frame, _ in frames[users[0] :]])
    text = [line for each in lines for line in each.rstrip("\n").split("\n")]
    cut = len(text) - _EXCERPT
    excerpt = (*(("  …",) if cut > 0 else ()), *text[max(cut, 0) :])
    return Blame(shown(last.filename), last.lineno or 0, last.name, excerpt)


def _frames(trace: TracebackType | None) -> Iterator[tuple[traceback.FrameSummary, Any]]:
    for frame, line in traceback.walk_tb(trace):
        code = frame.f_code
        yield traceback.FrameSummary(code.co_filename, line, code.co_name), frame


def _ours(path: str) -> bool:
    return path.startswith(_PACKAGE)


def origin(error: BaseException) -> str:
    """Where the error arose, which is the same under every schedule: what tells two errors of one type apart.

    The innermost frame in a user's file, and that of this package where it is further in. Empty if there is neither,
    and where it is chance which function ran out of stack or memory.
    """
    if isinstance(error, Escaped) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, RecursionError | MemoryError):
        return ""
    found = blame(error)
    places = [] if found is None else [str(found)]
    if found is not None and found is getattr(error, "place", None):
        return places[0]  # Its own frames are those of who noticed.
    for frame, _ in reversed(list(_frames(error.__traceback__))):
        if foreign(frame.filename):
            break
        if _ours(frame.filename):
            path = Path(frame.filename).relative_to(_PACKAGE)
            places.append(f"{path}:{frame.lineno}, {frame.name}")
            break
    return "; ".join(places)


def said(error: BaseException) -> str:
    """The exception in one line, as the end of a traceback has it."""
    if isinstance(error, Escaped):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def foreign(path: str) -> bool:
    """Whether the file is a user's: none of this package, of Python or of what is installed."""
    return not path.startswith((_PACKAGE, "<", *_PYTHON))


def shown(path: str) -> str:
    """As a user would type it."""
    file, here = Path(path), Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else path
