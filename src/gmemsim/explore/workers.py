"""Processes of a campaign: they count what they do where the parent sees it, and stop when it says so.

Ctrl-C goes to every process of the terminal's group. The workers do not hear it: the parent does, and tells them
through an event that they look at after every run, so that what they have comes back. A pool that is shut down cannot
stop a task that runs (`concurrent.futures`), and the interpreter waits for it before it ends.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from .search import State

__all__ = ["Workers", "tick"]

_T = TypeVar("_T")

#: Seconds that a worker has to end its run and send what it has.
_GRACE: Final = 5.0

#: In a worker: the event to stop at, and the counter of runs.
_shared: list[Any] = []


def _join(stop: Any, count: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared[:] = (stop, count)


def tick(state: State) -> None:
    """In a worker, after every run of a search.

    Raises:
        KeyboardInterrupt: the parent wants what there is.
    """
    stop, count = _shared
    with count.get_lock():
        count.value += 1
    if stop.is_set():
        raise KeyboardInterrupt


class Workers:
    """A pool of processes, as a context."""

    def __init__(self, jobs: int) -> None:
        context = get_context("spawn")
        self._stop = context.Event()
        self._count = context.Value("q", 0)
        self._pool = ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_join, initargs=(self._stop, self._count)
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _deaf():
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)

    @property
    def runs(self) -> int:
        """Of all workers so far."""
        count: int = self._count.value
        return count

    def submit(self, call: Callable[..., _T], *args: Any) -> Future[_T]:
        """As an executor does."""
        return self._pool.submit(call, *args)

    def stop(self, pending: Iterable[Future[_T]]) -> list[_T]:
        """End what runs, and give what came of it; what has not begun is dropped."""
        with _deaf():
            self._stop.set()
            running = [future for future in pending if not future.cancel()]
            done, _ = wait(running, timeout=_GRACE)
            return [future.result() for future in running if future in done and future.exception() is None]


@contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C while we stop is not needed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
