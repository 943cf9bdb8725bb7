"""Processes of a campaign: they count what they do where the parent sees it, and stop when it says so.

Ctrl-C goes to every process of the terminal's group. The workers do not hear it: the parent does, and tells them
through an event that they look at after every run, so that what they have comes back. One that does not come back in
time, because a run of it has no end, is killed. A worker whose parent is gone ends by itself: a thread of it waits for
that, whatever the worker is doing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import connection, get_context
from types import TracebackType
from typing import Any, Final, TypeVar

from ..engine.interrupts import deaf

_T = TypeVar("_T")

#: Seconds that a worker has to end its run and send what it has.
_GRACE: Final = 5.0
#: Seconds in which processes that are stopped and have nothing to do end by themselves.
_END: Final = 1.0

#: In a worker: the event to stop at, and the counter of runs.
_shared: list[Any] = []


class WorkerKilled(Exception):
    """A process of the campaign was killed, by the system if memory ran out; or a cluster lost its machines."""

    def __init__(self, text: str = "a worker process was killed (out of memory?)") -> None:
        super().__init__(text)


def _join(stop: Any, count: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared[:] = (stop, count)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def tick(_state: object = None) -> None:
    """After every run of a search: in a worker, count it and see whether to stop; elsewhere nothing.

    Raises:
        KeyboardInterrupt: the parent wants what there is.
    """
    if not _shared:
        return
    stop, count = _shared
    with count.get_lock():
        count.value += 1
    if stop.is_set():
        raise KeyboardInterrupt


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C, not even before `_join`; for us it comes afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """A pool of processes, as a context.

    Attributes:
        executor: of `concurrent.futures`.
    """

    def __init__(self, jobs: int) -> None:
        context = get_context("spawn")
        self._stop = context.Event()
        self._count = context.Value("q", 0)
        self.executor = ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_join, initargs=(self._stop, self._count)
        )
        self._futures: set[Future[Any]] = set()
        self._others = {process.pid for process in multiprocessing.active_children()}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with deaf():
            self._stop.set()
            self.executor.shutdown(wait=False, cancel_futures=True)
            left = [future for future in list(self._futures) if not future.done()]
            wait(left, timeout=_GRACE)
            for process in multiprocessing.active_children():
                if process.pid in self._others:
                    continue
                process.join(_END)
                if process.is_alive():
                    process.kill()
                    process.join()

    @property
    def runs(self) -> int:
        """Of all workers so far."""
        count: int = self._count.value
        return count

    def submit(self, call: Callable[..., _T], *args: Any) -> Future[_T]:
        """As an executor does.

        Raises:
            WorkerKilled: one was, and the pool is of no use any more.
        """
        try:
            with _unheard():
                future = self.executor.submit(call, *args)
        except BrokenExecutor:
            raise WorkerKilled from None
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    @staticmethod
    def result(future: Future[_T]) -> _T:
        """What came of a job that is done.

        Raises:
            WorkerKilled: its process is gone.
        """
        try:
            return future.result()
        except BrokenExecutor:
            raise WorkerKilled from None

    def stop(self, pending: Iterable[Future[_T]]) -> list[_T]:
        """End what runs, and give what came of it; what has not begun is dropped."""
        with deaf():
            self._stop.set()
            running = [future for future in pending if not future.cancel()]
            done, _ = wait(running, timeout=_GRACE)
            return [future.result() for future in running if future in done and future.exception() is None]
