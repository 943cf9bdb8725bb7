"""Q10: a conversion by many small calls, or by one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from ...audit.kvm_events import TlbFlush
from ..point import Point
from .lab import Lab, events_of
from .study import Case, Chart, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_PAGES = 256
_CALLS = (1, 8, 64, 256)
_VCPUS = 8


class ConversionSize(Study):
    key: ClassVar[str] = "Q10"
    slug: ClassVar[str] = "conversion-size"
    question: ClassVar[str] = (
        "A range of 256 pages is converted to shared and back: by 256 calls of one page, by calls of 8 or 64, or by "
        "one? TLB flushes, time, how long the lock is held, and what faults beside it pay."
    )
    method: ClassVar[str] = (
        "`v3` and `inplace`. 8 vCPUs re-fault 128 pages of 4 KiB each; beside them one VMM thread converts its 256 "
        "pages there and back once, all of them mapped before: to shared they are zapped and flushed."
    )
    absent: ClassVar[str] = "The exit to userspace that asks for a conversion is not part of it."
    uncertain: ClassVar[tuple[str, ...]] = ("line", "shootdown_per_cpu", "zap_4k", "syscall", "rmpupdate")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        return cases(version=("v3", "inplace"), arch=("sw-protected", "snp"), pages=_CALLS)

    def swept(self) -> list[Case]:
        return [
            case for case in self.cases() if case["pages"] in (1, 64, 256) and case["arch"] == "sw-protected"
        ]

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        count = _VCPUS + 2
        point = Point(case["version"], case["arch"], "refault", vcpus=count, pages=128 * count, costs="full")
        lab = Lab(point, costs, seed)
        lab.touch_all()
        size = case["pages"]
        took: list[int] = []
        # Two slices: its own and the one behind it.
        start = lab.machine.slices[_VCPUS].start
        mapped = partial(
            lab.machine.warm, vcpu=lab.machine.vm.vcpus[_VCPUS], pages=range(start, start + _PAGES)
        )
        lab.machine.phase(("setup", mapped))

        async def once(t: Task) -> None:
            await t.spend(20_000)
            began = t.engine.now
            for private in (False, True):
                for first in range(start, start + _PAGES, size):
                    await lab.machine.convert(t, range(first, first + size), private)
            took.append(t.engine.now - began)

        for number in range(_VCPUS):
            lab.vcpu(number)
        lab.task(_VCPUS, once)
        flushes = events_of(lab.machine, TlbFlush)
        found = lab.run()
        return {**found, "flushes": len(flushes), "converted": took[0]}

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, version: str, pages: int) -> float:
            return found(measure, version=version, arch="sw-protected", pages=pages)

        return (
            Claim(
                "In place one call of 256 pages takes at most a tenth of the time of 256 calls of one, and a few TLB "
                "flushes instead of one a page.",
                lambda f: (
                    of(f, "converted", "inplace", 256) < 0.1 * of(f, "converted", "inplace", 1)
                    and of(f, "flushes", "inplace", 256) < 0.05 * of(f, "flushes", "inplace", 1)
                ),
            ),
            Claim(
                "In v3 it wins much less: over a third of the time and over 100 flushes are left. Faults beside it "
                "contend for mmu_lock, so the zap gives it up, and flushes, after nearly every page.",
                lambda f: (
                    of(f, "converted", "v3", 256) > 0.34 * of(f, "converted", "v3", 1)
                    and of(f, "flushes", "v3", 256) > 100
                ),
            ),
            Claim(
                "One call holds the invalidate lock (in place) at least five times as long at a stretch as one page "
                "does.",
                lambda f: of(f, "write_hold_max", "inplace", 256) > 5 * of(f, "write_hold_max", "inplace", 1),
            ),
            Claim(
                "Faults beside it are still better off: with one call they are retried less often than with 256.",
                lambda f: all(of(f, "retries", v, 256) < of(f, "retries", v, 1) for v in ("v3", "inplace")),
            ),
            Claim(
                "In place calls of 64 pages already have most of the gain: at most twice the time of one call.",
                lambda f: of(f, "converted", "inplace", 64) < 2 * of(f, "converted", "inplace", 256),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = [
            (
                case["arch"],
                case["version"],
                str(case["pages"]),
                f"{found.of(case, 'converted') / 1000:,.0f}",
                f"{found.of(case, 'flushes'):.0f}",
                f"{found.of(case, 'write_hold_max') / 1000:.1f}",
                f"{found.of(case, 'retries') / (_VCPUS * 128):.1%}",
                f"{found.of(case, 'p99') / 1000:.1f}",
                f"{found.of(case, 'rate'):,.0f}",
            )
            for case in sorted(found.cases(), key=lambda case: (case["arch"], case["version"], case["pages"]))
        ]
        head = (
            "VM type",
            "version",
            "pages a call",
            "there and back, µs",
            "TLB flushes",
            "lock held at most, µs",
        )
        return [
            Table(
                "256 pages to shared and back", (*head, "retries a fault", "fault p99, µs", "faults/ms"), rows
            )
        ]

    def charts(self, found: Found) -> list[Chart]:
        def lines(measure: str) -> dict[str, list[tuple[float, float]]]:
            return {
                v: [(n, found(measure, version=v, arch="sw-protected", pages=n) / 1000) for n in _CALLS]
                for v in ("v3", "inplace")
            }

        return [
            Chart("256 pages there and back", "pages a call", "virtual µs", lines("converted")),
            Chart("faults beside it, 99th percentile", "pages a call", "virtual µs", lines("p99")),
        ]
