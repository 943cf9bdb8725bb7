"""Which kernel functions a task is in. The model's functions have the kernel's names, so its stack tells.

A suspended task is a chain of coroutines that wait for each other; a running one is on the interpreter's stack. What
belongs to the machinery (engine, scenario threads, recorders) is left out, and so are private helpers.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

    from ..engine.task import Task

_PACKAGE: Final = __name__.partition(".")[0]
#: Rooms whose functions are the kernel's, the guest's or the host's. Anything outside the package is a user's patch.
_KERNEL: Final = frozenset({"actors", "arch", "patches"})
#: Message passing, which the kernel does with a plain call.
_HELPERS: Final = frozenset({"answer", "request"})
_ENGINE: Final = f"{_PACKAGE}.engine."
_RUNTIMES: Final = frozenset({f"{_PACKAGE}.engine.bare", f"{_PACKAGE}.engine.trio_runtime"})


def functions_of(task: Task) -> tuple[tuple[str, ...], str]:
    """Kernel functions of a task that is suspended, outermost first, and the primitive that the last one calls."""
    names: list[str] = []
    primitive = ""
    waiting: Any = task.handle
    while waiting is not None:
        frame: FrameType | None = getattr(waiting, "cr_frame", None)
        if frame is None:
            break
        if _in_kernel(frame):
            names.append(frame.f_code.co_name)
            primitive = ""
        elif not primitive and str(frame.f_globals.get("__name__", "")).startswith(_ENGINE):
            primitive = frame.f_code.co_name
        waiting = getattr(waiting, "cr_await", None)
    return tuple(names), primitive


def running_functions() -> tuple[str, ...]:
    """Kernel functions on the interpreter's stack, outermost first, up to the runtime that resumed the task."""
    names: list[str] = []
    # Start at the caller of the recorder's callback; what lies between is machinery and is skipped by its module.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") not in _RUNTIMES:
        if _in_kernel(frame):
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return tuple(reversed(names))


def raised_in(trace: TracebackType | None) -> tuple[str, ...]:
    """Kernel functions that an exception went through, outermost first."""
    names: list[str] = []
    while trace is not None:
        if _in_kernel(trace.tb_frame):
            names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return tuple(names)


def _in_kernel(frame: FrameType) -> bool:
    return _is_kernel(frame.f_code, str(frame.f_globals.get("__name__", "")))


@lru_cache(4096)
def _is_kernel(code: CodeType, module: str) -> bool:
    name = code.co_name
    if (name.startswith("_") and not name.startswith("__")) or name in _HELPERS or name.startswith("<"):
        return False
    package, _, rest = module.partition(".")
    return package != _PACKAGE or rest.partition(".")[0] in _KERNEL
