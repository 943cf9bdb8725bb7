"""A call of a coroutine without `await` does nothing: in a user's patch it is an error, with the line of the call."""

from __future__ import annotations

import gc
import re
import sys
import warnings
from contextlib import contextmanager
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from .blame import foreign, interrupted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NeverAwaited", "all_awaited"]

_WARNING: Final = re.compile(
    r"coroutine '([^']*)' was never awaited\n.*\n +File \"([^\"]*)\", line (\d+), in (\S+)"
)


class NeverAwaited(Exception):
    """A coroutine of the kernel was made in a user's file and dropped; the message names file, line and callee."""


@contextmanager
def all_awaited(*, kept: bool = False) -> Iterator[None]:
    """Around a run of a user's patch.

    Args:
        kept: look at the end for coroutines, too, that somebody still holds, as the result of a call for instance; this
            goes through all objects.

    Raises:
        NeverAwaited: at the end of the block, in place of what went wrong because of it.
    """
    dropped: list[str] = []
    tell = warnings.showwarning

    def show(message: Warning | str, *rest: Any, **more: Any) -> None:
        match = _WARNING.match(str(message))
        if match is None or not foreign(match[2]):
            tell(message, *rest, **more)
            return
        callee, path, line, function = match.groups()
        dropped.append(f"{shown(path)}:{line}, {function}: {callee} is called without await, and never runs")

    depth = sys.get_coroutine_origin_tracking_depth()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="coroutine '.*' was never awaited", category=RuntimeWarning)
        warnings.showwarning = show
        sys.set_coroutine_origin_tracking_depth(max(depth, 1))
        try:
            yield
        except BaseException as error:
            if dropped and not interrupted(error):
                raise NeverAwaited(dropped[0]) from error
            raise
        finally:
            sys.set_coroutine_origin_tracking_depth(depth)
        if kept:
            dropped += _kept()
    if dropped:
        raise NeverAwaited(dropped[0])


def _kept() -> list[str]:
    found = []
    for each in gc.get_objects():
        if type(each) is CoroutineType and getcoroutinestate(each) == CORO_CREATED and each.cr_origin:
            path, line, function = each.cr_origin[0]
            if foreign(path):
                where = f"{shown(path)}:{line}, {function}"
                found.append(f"{where}: {each.__qualname__} is called without await, and never runs")
                # Else Python says so again at exit.
                each.close()
    return found
