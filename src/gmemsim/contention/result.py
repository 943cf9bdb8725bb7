"""What one point came to: throughput, latency percentiles, lock figures; all integers of virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from ..audit.lock_table import LockRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..engine.locks.stats import LockStatistics
    from .contended import Contention
    from .point import Point

__all__ = ["Bottleneck", "LockFigures", "Result", "figures", "percentile", "since"]


@attrs.frozen
class LockFigures:
    """One lock class in one mode; times in virtual ns."""

    acquisitions: int = 0
    contentions: int = 0
    wait_total: int = 0
    wait_max: int = 0
    hold_total: int = 0
    hold_max: int = 0


def figures(rows: Iterable[LockStatistics]) -> dict[str, LockFigures]:
    """By `class:mode`, modes that were used."""
    return {
        f"{row.name}:{mode}": LockFigures(*attrs.astuple(found))
        for row in rows
        for mode, found in (("r", row.read), ("w", row.write))
        if found.acquisitions
    }


def since(before: Mapping[str, LockFigures], after: Mapping[str, LockFigures]) -> dict[str, LockFigures]:
    """What happened in between; modes that were not used in between are left out."""
    out = {}
    for name, new in after.items():
        old = before.get(name, LockFigures())
        if new.acquisitions > old.acquisitions:
            out[name] = LockFigures(
                new.acquisitions - old.acquisitions,
                new.contentions - old.contentions,
                new.wait_total - old.wait_total,
                new.wait_max,
                new.hold_total - old.hold_total,
                new.hold_max,
            )
    return out


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Nearest rank: the smallest value that `percent` of all do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


@attrs.frozen
class Bottleneck:
    """What the threads waited for most.

    Attributes:
        name: a lock with its mode, a shared cache line, or what software spins on; empty if nothing of note.
        share: of all the threads' time, 0 to 1.
    """

    name: str
    share: float

    #: Below this share of the time, waiting is not what bounds the threads.
    NOTABLE: ClassVar[float] = 0.05

    def __str__(self) -> str:
        if not self.name:
            return f"none (nothing is waited for more than {self.share:.0%} of the time)"
        return f"{self.name} ({self.share:.0%} of the time)"


@attrs.frozen
class Result:
    """One row of the table.

    Attributes:
        faults: accesses that faulted; `retries`: further attempts that they took.
        virtual_ns: until the last vCPU was through.
        prepares: calls of the arch hook; `background_operations`: punches or pairs of conversions.
        locks: by `class:mode`, of the measured part, background thread included.
        spins: virtual ns that went into spinning on hardware, by what was spun on (`rmp.spin`).
        line_ns: virtual ns for which the invalidate lock's cache line was waited for or moved.
        perf: waits as `perf lock contention` counts them.
    """

    point: Point
    faults: int
    retries: int
    virtual_ns: int
    p50: int
    p90: int
    p99: int
    longest: int
    latency_total: int
    prepares: int
    background_operations: int
    locks: dict[str, LockFigures]
    spins: dict[str, int] = attrs.field(factory=dict)
    line_ns: int = 0
    perf: tuple[Contention, ...] = ()

    @classmethod
    def of(
        cls,
        point: Point,
        *,
        latencies: Sequence[int],
        virtual_ns: int,
        retries: int,
        prepares: int,
        background_operations: int,
        locks: dict[str, LockFigures],
        spins: dict[str, int],
        line_ns: int,
        perf: tuple[Contention, ...],
    ) -> Result:
        """Sum up latencies."""
        ordered = sorted(latencies)
        ranks = (percentile(ordered, 50), percentile(ordered, 90), percentile(ordered, 99))
        return cls(
            point,
            len(ordered),
            retries,
            virtual_ns,
            *ranks,
            ordered[-1] if ordered else 0,
            sum(ordered),
            prepares,
            background_operations,
            locks,
            spins,
            line_ns,
            perf,
        )

    @property
    def faults_per_ms(self) -> float:
        """Throughput, in faults per virtual millisecond."""
        return self.faults * 1e6 / self.virtual_ns if self.virtual_ns else 0.0

    @property
    def bottleneck(self) -> Bottleneck:
        """What took most of the threads' time by being waited for, lock or not."""
        waits = {name: found.wait_total for name, found in self.locks.items()} | self.spins
        waits["cache line of invalidate_lock"] = self.line_ns
        name = max(waits, key=lambda key: waits[key])
        threads = self.point.vcpus + (self.point.background != "none")
        share = waits[name] / (threads * self.virtual_ns) if self.virtual_ns else 0.0
        return Bottleneck(name if share >= Bottleneck.NOTABLE else "", share)

    def lock(self, name: str) -> LockFigures:
        """Figures of `class:mode`; zeros if it was not taken."""
        return self.locks.get(name, LockFigures())

    def lock_rows(self) -> list[LockRow]:
        """For the tables of `audit.lock_table`."""
        rows = []
        for name, found in self.locks.items():
            cls, _, mode = name.rpartition(":")
            times = (found.wait_total, found.wait_max, found.hold_total, found.hold_max)
            rows.append(LockRow(cls, mode, found.acquisitions, found.contentions, *times))
        return rows

    def document(self) -> dict[str, Any]:
        """For JSON."""
        own = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        own["point"] = attrs.asdict(self.point)
        own["locks"] = {name: attrs.asdict(found) for name, found in self.locks.items()}
        own["perf"] = [attrs.asdict(row) for row in self.perf]
        own["bottleneck"] = attrs.asdict(self.bottleneck)
        own["faults_per_ms"] = round(self.faults_per_ms, 3)
        return own
