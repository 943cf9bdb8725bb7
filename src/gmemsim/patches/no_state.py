"""What a user's code must not ask for in a search: clocks, the host's too, and counters, which are no part of a state.

No virtual time passes in an exploring run, so whoever waits for a deadline waits for ever, and what follows it is
never looked at. How many steps a run has had, and how often a lock was taken, is left out of a state on purpose
(`explore.state.ignored`): two runs that come to the same state with other numbers are one for a search, which goes on
with the first. A patch that tells them apart would be called complete without having been looked at. So code that names
such a thing is refused before anything runs; a timed run has both, and a token is of a search.
"""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from ..engine.blame import shown
from ..engine.locks.stats import Counter
from .places import Places
from .user_file import PatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

#: Of the engine, and the last but one of a task as well.
_OF_ENGINE: Final = frozenset({"heap", "now", "sequence", "steps", "tape"})
_ENGINES: Final = frozenset({"_engine", "engine", "t", "task"})
#: Of a lock, unless the user's own classes have something of that name.
_OF_LOCKS: Final = frozenset({*Counter.__slots__, "paths", "statistics"} - {"book"})

#: Of the machine that the search runs on.
_OF_HOST: Final = frozenset(
    f"{clock}{unit}"
    for clock in ("monotonic", "perf_counter", "process_time", "thread_time")
    for unit in ("", "_ns")
) | {"time_ns", "utcnow", "clock_gettime", "clock_gettime_ns"}
_HOST_PAIRS: Final = frozenset(
    {("time", "time"), ("datetime", "now"), ("datetime", "today"), ("date", "today")}
)
#: What takes an attribute's name as a text.
_BY_TEXT: Final = frozenset({"getattr", "attrgetter", "__getattribute__"})

_fine: WeakSet[type] = WeakSet()


def check_reads(classes: Iterable[type]) -> None:
    """Hold a user's classes, and what they call of the user's, against what a search has.

    Raises:
        PatchError: the code names a clock or a counter.
    """
    left = [cls for cls in classes if cls not in _fine]
    if not left:
        return
    codes = Places(left, whole_files=False).codes()
    own = {each.argval for code in codes for each in _instructions(code) if each.opname == "STORE_ATTR"}
    own |= {name for cls in left for owner in cls.__mro__ for name in vars(owner)} | {
        code.co_name for code in codes
    }
    for code in codes:
        for name, line, clock in _reads(code):
            if clock or name not in own:
                raise PatchError(f"{shown(code.co_filename)}:{line}: {_why(name)}")
    _fine.update(left)


def _why(name: str) -> str:
    if name in _OF_HOST or "." in name:
        return f"`{name}` is a clock of this machine, and no part of a state: a time-out is a draw, `t.draw('NAME', 2)`"
    if name in ("heap", "now"):
        return (
            f"`{name}` of the engine is read, and no time passes in a search: whether a time-out comes first is a draw "
            "there, `t.draw('NAME', 2)`"
        )
    return (
        f"`{name}` is read, and is no part of a state: a search takes two runs that come to the same state for one, "
        "whatever was counted on the way; keep what your kernel counts on self"
    )


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    """Of the code, and of the functions in it."""
    yield from dis.get_instructions(code)
    for each in code.co_consts:
        if hasattr(each, "co_code"):
            yield from _instructions(each)


def _reads(code: CodeType, knows: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Attributes that may be such ones: the name, the line, and whether it is the engine's.

    Args:
        knows: the function around it has the engine, maybe under another name.
    """
    before: object = None
    line = code.co_firstlineno
    knows = knows or "engine" in code.co_names
    by_text = not _BY_TEXT.isdisjoint(code.co_names)
    for each in dis.get_instructions(code):
        line = (each.positions.lineno if each.positions else None) or line
        if each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            of = before[-1] if isinstance(before, tuple) else before
            if each.argval in _OF_ENGINE and (of in _ENGINES or (knows and of != "self")):
                yield each.argval, line, True
            elif each.argval in _OF_LOCKS or each.argval in _OF_HOST:
                yield each.argval, line, False
            elif (of, each.argval) in _HOST_PAIRS:
                yield f"{of}.{each.argval}", line, True
        elif each.opname == "LOAD_GLOBAL" and each.argval in _OF_HOST:
            yield each.argval, line, False
        elif each.opname == "LOAD_CONST" and isinstance(each.argval, str) and by_text:
            last = each.argval.rpartition(".")[2]
            if last in _OF_ENGINE or last in _OF_LOCKS:
                yield last, line, False
        if each.opname != "COPY":
            before = each.argval
    for inner in code.co_consts:
        if hasattr(inner, "co_code"):
            yield from _reads(inner, knows)
