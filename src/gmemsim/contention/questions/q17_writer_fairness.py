"""Q17: how long a conversion waits under a storm of faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..point import Point
from .storm_study import StormStudy
from .study import Case, Chart, Claim, Found, Table, cases

_LOCKS = ("rwsem", "rwsem-rt", "phase-fair", "fifo", "reader-preferring", "writer-preferring")
_VCPUS = (4, 16, 64)


class WriterFairness(StormStudy):
    key: ClassVar[str] = "Q17"
    slug: ClassVar[str] = "writer-fairness"
    question: ClassVar[str] = (
        "How long does a conversion wait for the invalidate lock while vCPUs fault, and what does it cost them, by the "
        "lock's policy: the rw-semaphore, PREEMPT_RT's, phase-fair, first come first served, readers first, writers "
        "first?"
    )
    method: ClassVar[str] = (
        "`inplace`, sw-protected: each vCPU re-faults its slice of 2,048 pages of 4 KiB, and a VMM thread converts 8 "
        "pages of its own to shared and back, again and again.\n\n"
        "    gmemsim bench contention --patch inplace --arch sw-protected --storm refault --background convert \\\n"
        "        --lock rwsem,rwsem-rt,phase-fair,fifo,reader-preferring,writer-preferring --costs full \\\n"
        "        --interval 5 --vcpus 4,16,64 --pages 2048 --seeds 3"
    )
    absent: ClassVar[str] = (
        "No preemption and no real-time priorities: under PREEMPT_RT only the lock's own rules differ here, and on a "
        "machine where readers are preempted inside the lock waits are longer under every policy."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("line", "wake", "shootdown_per_cpu", "rwsem")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        return cases(vcpus=_VCPUS, lock=_LOCKS)

    def swept(self) -> list[Case]:
        return [
            case
            for case in self.cases()
            if case["vcpus"] == 64
            and case["lock"] in ("rwsem", "rwsem-rt", "phase-fair", "fifo", "reader-preferring")
        ]

    def point(self, case: Case) -> Point:
        return Point(
            "inplace",
            "sw-protected",
            "refault",
            "convert",
            case["vcpus"],
            2048,
            release="7.4",
            interval_ns=5_000,
            policy=case["lock"],
        )

    def claims(self) -> Sequence[Claim]:
        def wait(found: Found, lock: str) -> float:
            return found("write_wait_max", lock=lock, vcpus=64)

        return (
            Claim(
                "Under the rw-semaphore no conversion waits 100 µs with 64 vCPUs: its hand-off (4 ms) is never needed.",
                lambda f: wait(f, "rwsem") < 100_000,
            ),
            Claim(
                "If readers go first, the longest wait of a conversion is at least five times as long.",
                lambda f: wait(f, "reader-preferring") > 5 * wait(f, "rwsem"),
            ),
            Claim(
                "PREEMPT_RT's semaphore, which has no hand-off, makes it wait at least five times as long too.",
                lambda f: wait(f, "rwsem-rt") > 5 * wait(f, "rwsem"),
            ),
            Claim(
                "First come, first served, or phase-fair, it waits at most half as long as under the rw-semaphore, and "
                "faults lose less than 10 % of their throughput for it.",
                lambda f: all(
                    wait(f, lock) < 0.5 * wait(f, "rwsem")
                    and f("rate", lock=lock, vcpus=64) > 0.9 * f("rate", lock="rwsem", vcpus=64)
                    for lock in ("phase-fair", "fifo")
                ),
            ),
            Claim(
                "What faults pay for the conversions: with the rw-semaphore their 99th percentile is higher than if "
                "readers go first.",
                lambda f: f("p99", lock="rwsem", vcpus=64) > f("p99", lock="reader-preferring", vcpus=64),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = [
            (
                str(vcpus),
                lock,
                f"{found('background', lock=lock, vcpus=vcpus):.1f}",
                f"{found('write_wait_p50', lock=lock, vcpus=vcpus) / 1000:.1f}",
                f"{found('write_wait_max', lock=lock, vcpus=vcpus) / 1000:.1f}",
                f"{found('overtaken', lock=lock, vcpus=vcpus):.0f}",
                f"{found('rate', lock=lock, vcpus=vcpus):,.0f}",
                f"{found('p50', lock=lock, vcpus=vcpus) / 1000:.2f}",
                f"{found('p99', lock=lock, vcpus=vcpus) / 1000:.2f}",
            )
            for vcpus in _VCPUS
            for lock in _LOCKS
        ]
        head = (
            "vCPUs",
            "lock",
            "pairs of conversions/ms",
            "writer waits p50, µs",
            "longest, µs",
            "readers that overtook",
        )
        return [Table("Conversions and faults", (*head, "faults/ms", "p50, µs", "p99, µs"), rows)]

    def charts(self, found: Found) -> list[Chart]:
        def lines(measure: str) -> dict[str, list[tuple[float, float]]]:
            return {
                lock: [(n, max(found(measure, lock=lock, vcpus=n), 1) / 1000) for n in _VCPUS]
                for lock in _LOCKS
            }

        return [
            Chart("a conversion's longest wait", "vCPUs", "virtual µs", lines("write_wait_max")),
            Chart("faults, 99th percentile", "vCPUs", "virtual µs", lines("p99")),
        ]
