"""Cells of a campaign, worked on here, by processes of this machine, or by a dask cluster.

A cell's result follows from the cell alone, so it does not matter who works on it, or in what order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import attrs

from ..bad_input import BadInput
from .workers import WorkerKilled, Workers

_C = TypeVar("_C")
_R = TypeVar("_R")

#: Seconds between two looks at whether anybody still works.
_LOOK: Final = 2.0
#: Seconds that a cluster may be without a worker: time for one that was started again to come back.
_WITHOUT: Final = 15.0


class ClusterError(BadInput):
    """No cluster of this address, or no dask; one line."""


@attrs.frozen
class Place:
    """Where cells are worked on.

    Attributes:
        executor: None: in this process, one after another.
        width: cells at once.
        alive: whether somebody is there to work; asked every few seconds.
        lost: exceptions of a future that mean that its worker is gone, not that the cell failed.
    """

    executor: Executor | None = None
    width: int = 1
    alive: Callable[[], bool] = lambda: True
    lost: tuple[type[BaseException], ...] = (BrokenExecutor, CancelledError)


@contextmanager
def here() -> Iterator[Place]:
    """This process."""
    yield Place()


@contextmanager
def place(jobs: int, cluster: str | None) -> Iterator[Place]:
    """The cluster at this address, else so many processes, else this one.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    with _cluster(cluster) if cluster else _processes(jobs) if jobs > 1 else here() as found:
        yield found


@contextmanager
def _processes(jobs: int) -> Iterator[Place]:
    with Workers(jobs) as workers:
        yield Place(workers.executor, jobs)


@contextmanager
def _cluster(address: str) -> Iterator[Place]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise ClusterError("--cluster needs dask: install gmemsim[cluster]") from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise ClusterError(f"--cluster {address}: {error}") from None

    def alive() -> bool:
        if client.status != "running":
            return False
        try:
            return bool(client.nthreads())
        except (OSError, TimeoutError):
            return False

    try:
        lost = (BrokenExecutor, CancelledError, KilledWorker)
        yield Place(client.get_executor(), max(len(client.nthreads()), 1), alive, lost)
    finally:
        client.close(timeout=5)


def share(run: Callable[[_C], _R], cells: Iterable[_C], where: Place) -> Iterator[_R]:
    """Results as they come, with up to `2 * width` cells in flight.

    Raises:
        WorkerKilled: a process is gone, or all machines of the cluster are.
    """
    if where.executor is None:
        yield from map(run, cells)
        return
    waiting = iter(cells)
    flying: set[Future[Any]] = set()
    seen = time.monotonic()
    while True:
        while len(flying) < 2 * where.width:
            following = next(waiting, None)
            if following is None:
                break
            try:
                flying.add(where.executor.submit(run, following))
            except where.lost:
                raise WorkerKilled from None
        if not flying:
            return
        done, flying = wait(flying, timeout=_LOOK, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                found: _R = future.result()
            except where.lost:
                raise WorkerKilled from None
            yield found
        if done or where.alive():
            seen = time.monotonic()
        elif time.monotonic() - seen > _WITHOUT:
            raise WorkerKilled(f"the cluster has been without a worker for {_WITHOUT:.0f} s")
