"""Cells are shared out, and what is lost is said."""

from __future__ import annotations

from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from gmemsim.jobs import share as module
from gmemsim.jobs.share import Place, here, share
from gmemsim.jobs.workers import WorkerKilled


class Silent(Executor):
    """Takes cells, and nobody works on them."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, *_args: Any, **_named: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


def test_here_is_in_order_and_lazy() -> None:
    done: list[int] = []
    with here() as where:

        def run(cell: int) -> int:
            done.append(cell)
            return -cell

        results = share(run, [1, 2, 3], where)
        assert next(results) == -1
        assert done == [1]
        assert list(results) == [-2, -3]


def test_an_executor_gets_each_cell_once() -> None:
    with ThreadPoolExecutor(3) as pool:
        assert sorted(share(lambda cell: cell * cell, range(20), Place(pool, 3))) == [
            n * n for n in range(20)
        ]


def test_no_more_in_flight_than_twice_the_width() -> None:
    pool = Silent()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LOOK", 0.001)
        patch.setattr(module, "_WITHOUT", 0.0)
        with pytest.raises(WorkerKilled):
            next(share(str, range(100), Place(pool, 2, lambda: False)))
    assert len(pool.futures) == 4


def test_a_cluster_without_workers_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.001)
    monkeypatch.setattr(module, "_WITHOUT", 0.02)
    looks = iter([True, True, *[False] * 1000])
    with pytest.raises(WorkerKilled, match="without a worker"):
        list(share(str, range(3), Place(Silent(), 1, lambda: next(looks))))


def test_a_lost_future_is_no_failed_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Silent):
        def submit(self, *_args: Any, **_named: Any) -> Future[Any]:
            future = super().submit()
            future.set_exception(CancelledError())
            return future

    with pytest.raises(WorkerKilled):
        list(share(str, range(3), Place(Lost(), 1)))


def test_a_cell_that_fails_says_so_itself() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(share(lambda cell: 1 // cell, [0], Place(pool)))
