"""What one point came to: throughput, latency percentiles, lock figures; all integers of virtual time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from ..audit.lock_table import LockRow
from .contended import Contention
from .lock_book import Site
from .point import Point
from .waste import Waste

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .lock_book import LockBooks
    from .steady import Window


@attrs.frozen
class LockFigures:
    """One lock class in one mode; times in virtual ns, over all its locks.

    Attributes:
        con_bounces, acq_bounces: as `/proc/lock_stat` counts them (`lock_book`).
        overtaken: most acquisitions in the other mode while one of this mode waited: of a writer, readers.
        queue_max, convoy, convoy_ns: of the class, both modes: most waiters at once; waiters served, and time, while
            the queue of one lock was never empty.
    """

    acquisitions: int = 0
    contentions: int = 0
    wait_total: int = 0
    wait_min: int = 0
    wait_p50: int = 0
    wait_p99: int = 0
    wait_max: int = 0
    hold_total: int = 0
    hold_min: int = 0
    hold_p50: int = 0
    hold_p99: int = 0
    hold_max: int = 0
    con_bounces: int = 0
    acq_bounces: int = 0
    overtaken: int = 0
    queue_max: int = 0
    convoy: int = 0
    convoy_ns: int = 0


class Ranks:
    """Values in order, in room for the different ones among them: of millions of waits most are alike."""

    def __init__(self, values: Iterable[int]) -> None:
        self._counts = sorted(Counter(values).items())
        self.count = sum(count for _, count in self._counts)
        self.total = sum(value * count for value, count in self._counts)

    def rank(self, percent: int) -> int:
        """Nearest rank: the smallest value that `percent` of all do not exceed; 0 if there is none."""
        wanted = -(-self.count * percent // 100)
        for value, count in self._counts:
            wanted -= count
            if wanted <= 0:
                return value
        return 0


def _times(values: Iterable[int]) -> tuple[int, int, int, int, int]:
    """Total, minimum, median, 99th percentile, maximum."""
    ranks = Ranks(values)
    return ranks.total, ranks.rank(0), ranks.rank(50), ranks.rank(99), ranks.rank(100)


def lock_figures(
    before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int], books: LockBooks
) -> dict[str, LockFigures]:
    """By `class:mode`, what happened between two counts of acquisitions; modes that nobody took are left out."""
    out = {}
    for (name, mode), count in after.items():
        acquired = count - before.get((name, mode), 0)
        book = books.modes.get((name, mode))
        if acquired <= 0 or book is None:
            continue
        queueing, convoy = books.queueing(name, mode), books.convoy(name)
        out[f"{name}:{mode}"] = LockFigures(
            acquired,
            len(book.waits),
            *_times(book.waits),
            *_times(book.holds),
            con_bounces=len(book.waits) - queueing.own,
            acq_bounces=queueing.acq_bounces,
            overtaken=queueing.overtaken,
            queue_max=convoy.queue_max,
            convoy=convoy.length,
            convoy_ns=convoy.ns,
        )
    return out


#: Difference between the halves of a window from which a run is not called steady.
STEADY: Final = 0.1
_LINE: Final = "cache line of invalidate_lock"


@attrs.frozen
class Bottleneck:
    """What the threads waited for most.

    Attributes:
        name: a lock with its mode, a shared cache line, or what software spins on; empty if nothing of note.
        share: of all the threads' time, 0 to 1.
    """

    name: str
    share: float

    #: What those are that are no locks of the kernel.
    MEANINGS: ClassVar[dict[str, str]] = {
        "rmp.spin": "RMPUPDATE is serial in a 2 MiB region: hardware answers FAIL_OVERLAP, and the kernel repeats it",
        "vm0.sept_tree.retry": "the TDX module answers TDX_OPERAND_BUSY, as another CPU has the S-EPT tree lock, and "
        "KVM repeats the fault",
        "vm0.mn_active": "who publishes memslots waits for MMU notifiers",
    }

    #: Below this share of the time, waiting is not what bounds the threads.
    NOTABLE: ClassVar[float] = 0.05

    @classmethod
    def of(cls, results: Sequence[Result]) -> Bottleneck:
        """Over all of these runs, which differ in their seed alone."""
        waits: Counter[str] = Counter()
        for result in results:
            waits.update({name: found.wait_total for name, found in result.locks.items()})
            waits.update(result.spins)
            waits[_LINE] += result.line_ns
        name, waited = max(waits.items(), key=lambda item: item[1])
        point = results[0].point
        threads = point.vcpus + (point.background != "none")
        time = threads * sum(result.span_ns for result in results)
        share = waited / time if time else 0.0
        return cls(name if share >= cls.NOTABLE else "", share)

    def __str__(self) -> str:
        if not self.name:
            return f"none (nothing is waited for more than {self.share:.0%} of the time)"
        return f"{self.name} ({self.share:.0%} of the time)"


@attrs.frozen
class Result:
    """One row of the table.

    Attributes:
        faults: units of work in the window (`steady`); `retries`: further attempts that they took.
        virtual_ns: of the window; `span_ns`: until the last thread was through.
        first_half: units in the first half of the window.
        background_operations: punches or pairs of conversions.
        waste: retries of all threads by reason, and calls of the arch hook.
        locks: by `class:mode`, of the whole span, background thread included, as all that follows.
        spins: virtual ns that went into spinning on hardware, by what was spun on (`rmp.spin`).
        line_ns: virtual ns for which the invalidate lock's cache line was waited for or moved.
        sites: waits and holds by lock, mode and calling function.
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
    span_ns: int
    first_half: int
    background_operations: int
    locks: dict[str, LockFigures]
    spins: dict[str, int] = attrs.field(factory=dict)
    line_ns: int = 0
    waste: Waste = attrs.field(factory=Waste)
    sites: tuple[Site, ...] = ()
    perf: tuple[Contention, ...] = ()

    @classmethod
    def of(
        cls,
        point: Point,
        *,
        window: Window,
        span_ns: int,
        waste: Waste,
        background_operations: int,
        locks: dict[str, LockFigures],
        spins: dict[str, int],
        line_ns: int,
        sites: tuple[Site, ...],
        perf: tuple[Contention, ...],
    ) -> Result:
        """Sum up latencies."""
        ranks = Ranks(window.latencies)
        return cls(
            point,
            ranks.count,
            window.attempts - ranks.count,
            window.ns,
            ranks.rank(50),
            ranks.rank(90),
            ranks.rank(99),
            ranks.rank(100),
            ranks.total,
            span_ns,
            window.first_half,
            background_operations,
            locks,
            spins,
            line_ns,
            waste,
            sites,
            perf,
        )

    @property
    def prepares(self) -> int:
        """Calls of the arch hook."""
        return self.waste.prepares

    @property
    def faults_per_ms(self) -> float:
        """Throughput, in faults per virtual millisecond."""
        return self.faults * 1e6 / self.virtual_ns if self.virtual_ns else 0.0

    @property
    def drift(self) -> float | None:
        """Units of the window's second half to those of its first, less 1: near 0 in a steady state.

        None: the first half has none, so the window is too short to tell a rate.
        """
        return (self.faults - self.first_half) / self.first_half - 1 if self.first_half else None

    @property
    def steady(self) -> bool:
        """Whether a window behind a warm-up shows a steady state."""
        return self.drift is not None and abs(self.drift) <= STEADY

    @property
    def bottleneck(self) -> Bottleneck:
        """What took most of the threads' time by being waited for, lock or not."""
        return Bottleneck.of([self])

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
        own["waste"] = attrs.asdict(self.waste)
        own["drift"] = None if self.drift is None else round(self.drift, 4)
        own["sites"] = [attrs.asdict(site) for site in self.sites]
        own["bottleneck"] = attrs.asdict(self.bottleneck)
        own["faults_per_ms"] = round(self.faults_per_ms, 3)
        return own
