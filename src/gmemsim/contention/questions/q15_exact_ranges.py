"""Q15: one sequence and one range for a whole VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from ..point import Point
from .lab import Lab
from .study import Case, Chart, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...arch.costs import CostTable
    from ...engine.task import Task

_CONVERTERS = (0, 1, 2, 4)
_VCPUS = (4, 16, 64)


class _Known:
    """An invalidation: its ranges, and the sequence that it moved to at its end."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.seq: int | None = None


def with_exact_ranges(patch: type[Kernel]) -> type[Kernel]:
    """A variant that retries a fault only for an invalidation of its gfn: each keeps its ranges.

    The look-up is not charged, so it is a bound on what exact ranges could save.
    """

    class Exact(patch):  # type: ignore[misc, valid-type] # a class that is known at run time
        def known(self, vm: Vm) -> list[_Known]:
            """Of a VM, oldest first."""
            found: list[_Known] = self.__dict__.setdefault("invalidations", {}).setdefault(vm, [])
            return found

        async def kvm_mmu_invalidate_start(self, t: Task, vm: Vm, notifier: bool = False) -> None:
            await super().kvm_mmu_invalidate_start(t, vm, notifier)
            mine = _Known()
            self.known(vm).append(mine)
            self.__dict__.setdefault("begun", {})[t, vm] = mine

        async def kvm_mmu_invalidate_range_add(self, t: Task, vm: Vm, start: int, end: int) -> None:
            await super().kvm_mmu_invalidate_range_add(t, vm, start, end)
            self.__dict__["begun"][t, vm].ranges.append((start, end))

        async def kvm_mmu_invalidate_end(self, t: Task, vm: Vm) -> None:
            await super().kvm_mmu_invalidate_end(t, vm)
            self.__dict__["begun"].pop((t, vm)).seq = vm.seq
            # Snapshots are as old as a fault at most: a thousand invalidations are more than that.
            del self.known(vm)[:-1000]

        def mmu_invalidate_retry_gfn(self, vm: Vm, seq: int, gfn: int) -> bool:
            return any(
                start <= gfn < end
                for known in self.known(vm)
                if known.seq is None or known.seq > seq
                for start, end in known.ranges
            )

        async def mmu_invalidate_retry_gfn_unsafe(self, t: Task, vm: Vm, seq: int, gfn: int) -> bool:
            return self.mmu_invalidate_retry_gfn(vm, seq, gfn)

    Exact.name = patch.name
    return Exact


class ExactRanges(Study):
    key: ClassVar[str] = "Q15"
    slug: ClassVar[str] = "exact-ranges"
    question: ClassVar[str] = (
        "KVM keeps one invalidation sequence and one range (the union) a VM, so a fault is retried for invalidations "
        "of other gfns. How many retries are false with several invalidations at once, and what would exact ranges "
        "save?"
    )
    method: ClassVar[str] = (
        "`v3` and `inplace`, sw-protected. Each vCPU re-faults 32 pages of 4 KiB of its own; beside them VMM threads "
        "convert 8 pages of their own to shared and back, with pauses of 20 µs on average. No vCPU touches a page that "
        "is converted, so with exact ranges there is nothing to retry. The variant keeps every invalidation's ranges "
        "and charges nothing for the look-up (`with_exact_ranges` in "
        "`src/gmemsim/contention/questions/q15_exact_ranges.py`)."
    )
    absent: ClassVar[str] = (
        "Exact ranges would cost a look-up in every fault and memory: neither is charged. With 64 vCPUs and 16 threads "
        "that convert, v3's faults were retried so often that the run was given up. The converted pages are not "
        "mapped, so conversions are short and flush nothing."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("line", "shootdown_per_cpu", "fault_entry", "zap_4k", "wake")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        return cases(
            version=("v3", "inplace"), vcpus=_VCPUS, converters=_CONVERTERS, ranges=("union", "exact")
        )

    def swept(self) -> list[Case]:
        return [case for case in self.cases() if case["vcpus"] == 16 and case["converters"] in (1, 4)]

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        vcpus, others = case["vcpus"], case["converters"]
        point = Point(
            case["version"], "sw-protected", "refault", vcpus=vcpus + others, pages=32 * (vcpus + others)
        )
        point = attrs.evolve(point, release="7.4", costs="full")
        lab = Lab(point, costs, seed, with_exact_ranges if case["ranges"] == "exact" else None)
        lab.touch_all()
        for number in range(vcpus):
            lab.vcpu(number)
        for number in range(vcpus, vcpus + others):
            lab.beside(number, lab.convert, 20_000)
        found = lab.run()
        return {**found, "share": found["retries"] / max(len(lab.latencies), 1)}

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, version: str, others: int, ranges: str) -> float:
            return found(measure, version=version, vcpus=16, converters=others, ranges=ranges)

        return (
            Claim(
                "Every retry of these storms is false, and exact ranges leave none.",
                lambda f: all(
                    of(f, "retries", v, n, "union") == of(f, "false_retries", v, n, "union") > 0
                    and of(f, "retries", v, n, "exact") == 0
                    for v in ("v3", "inplace")
                    for n in (1, 4)
                ),
            ),
            Claim(
                "With one thread that converts, fewer than 15 % of the faults of 16 vCPUs are retried.",
                lambda f: all(of(f, "share", v, 1, "union") < 0.15 for v in ("v3", "inplace")),
            ),
            Claim(
                "With four threads that convert, exact ranges raise v3's throughput of 16 vCPUs by over 10 %.",
                lambda f: of(f, "rate", "v3", 4, "exact") > 1.1 * of(f, "rate", "v3", 4, "union"),
            ),
            Claim(
                "In place they gain less than in v3: there the invalidate lock keeps most of them apart.",
                lambda f: (
                    of(f, "rate", "inplace", 4, "exact") / of(f, "rate", "inplace", 4, "union")
                    < of(f, "rate", "v3", 4, "exact") / of(f, "rate", "v3", 4, "union")
                ),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = []
        for version in ("v3", "inplace"):
            for vcpus in _VCPUS:
                for others in _CONVERTERS:
                    axes = {"version": version, "vcpus": vcpus, "converters": others}
                    union, exact = (found("rate", ranges=ranges, **axes) for ranges in ("union", "exact"))
                    rows.append(
                        (
                            version,
                            str(vcpus),
                            str(others),
                            f"{found('share', ranges='union', **axes):.1%}",
                            f"{found('p99', ranges='union', **axes) / 1000:.1f}",
                            f"{found('p99', ranges='exact', **axes) / 1000:.1f}",
                            f"{union:,.0f}",
                            f"{exact / union:.3f}",
                        )
                    )
        head = (
            "version",
            "vCPUs",
            "converting threads",
            "retries a fault (all false)",
            "p99, µs",
            "p99 exact, µs",
        )
        return [Table("Retries, and what exact ranges save", (*head, "faults/ms", "exact against it"), rows)]

    def charts(self, found: Found) -> list[Chart]:
        lines: dict[str, list[tuple[float, float]]] = {
            f"{version}, {vcpus} vCPUs": [
                (n, max(found("share", version=version, vcpus=vcpus, converters=n, ranges="union"), 1e-3))
                for n in _CONVERTERS[1:]
            ]
            for version in ("v3", "inplace")
            for vcpus in _VCPUS
        }
        return [
            Chart(
                "false retries",
                "threads that convert",
                "retries a fault",
                lines,
            )
        ]
