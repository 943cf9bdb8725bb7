"""Studies whose cases are points of `bench contention`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import attrs

from ..storm import run
from .study import Case, Study

if TYPE_CHECKING:
    from ...arch.costs import CostTable
    from ..point import Point
    from ..result import Result


def figures(result: Result) -> dict[str, float]:
    """What studies take from a result; times in virtual ns, `background` in operations a virtual ms."""
    read, write = result.lock("invalidate_lock:r"), result.lock("invalidate_lock:w")
    folio = result.lock("folio_lock:w")
    return {
        "rate": result.faults_per_ms,
        "units": result.faults,
        "p50": result.p50,
        "p99": result.p99,
        "max": result.longest,
        "retries": result.waste.all_retries,
        "false_retries": result.waste.false_retries,
        "prepares": result.waste.prepares,
        "no_ops": result.waste.no_ops,
        "background": 1e6 * result.background_operations / result.span_ns,
        "read_taken": read.acquisitions,
        "read_waits": read.contentions,
        "read_wait_max": read.wait_max,
        "write_waits": write.contentions,
        "write_wait_p50": write.wait_p50,
        "write_wait_p99": write.wait_p99,
        "write_wait_max": write.wait_max,
        "write_hold_max": write.hold_max,
        "overtaken": write.overtaken,
        "folio_hold": folio.hold_total / folio.acquisitions if folio.acquisitions else 0,
        "folio_wait_max": folio.wait_max,
    }


class StormStudy(Study):
    """Cases are points; a seed is the point's."""

    @abstractmethod
    def point(self, case: Case) -> Point:
        """The point of a case, without seed and costs."""

    def arch(self, case: Case) -> str:
        return self.point(case).arch

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        return figures(run(attrs.evolve(self.point(case), seed=seed, costs="full"), costs))
