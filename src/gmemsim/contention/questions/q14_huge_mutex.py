"""Q14: one mutex a huge page in get_folio."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..point import Point
from .lab import Lab
from .study import Case, Chart, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_VERSIONS = ("hugepage", "hugepage-mutex")
_VCPUS = (1, 4, 16, 64)
_EACH = 64


class HugeMutex(Study):
    key: ClassVar[str] = "Q14"
    slug: ClassVar[str] = "huge-mutex"
    question: ClassVar[str] = (
        "One mutex a huge page around get_folio (`hugepage-mutex`) closes the race with a split. What does it cost "
        "when many vCPUs fault in one page of 1 GiB?"
    )
    method: ClassVar[str] = (
        "sw-protected, one page of 1 GiB of which one 4 KiB page is shared, so that its folios are split and each "
        "fault maps 4 KiB. Each vCPU touches 64 pages of its own in it."
    )
    absent: ClassVar[str] = (
        "Which first touch allocates and splits is over before. The kernel would hash mutexes into a table; here each "
        "huge page has its own, so nothing is shared between different ones."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("line", "mutex", "wake", "fault_entry", "atomic")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        return cases(vcpus=_VCPUS, version=_VERSIONS)

    def swept(self) -> list[Case]:
        return [case for case in self.cases() if case["vcpus"] in (1, 16, 64)]

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        vcpus = case["vcpus"]
        point = Point(
            case["version"], "sw-protected", "first-touch", vcpus=vcpus, pages=1, folio="1G", costs="full"
        )
        lab = Lab(point, costs, seed)
        machine = lab.machine

        async def split(t: Task) -> None:
            await machine.touch(t, machine.vm.vcpus[0], 0)
            await machine.convert(t, range(5, 6), False)

        machine.phase(("setup", split))
        for number in range(vcpus):
            first = 1000 + number * _EACH
            machine.slices[number] = range(first, first + _EACH)
            lab.vcpu(number)
        return lab.run()

    def claims(self) -> Sequence[Claim]:
        def kept(found: Found, vcpus: int) -> float:
            mine, other = (found("rate", version=v, vcpus=vcpus) for v in reversed(_VERSIONS))
            return mine / other

        return (
            Claim("With one vCPU the mutex costs less than 5 %.", lambda f: kept(f, 1) > 0.95),
            Claim(
                "With 16 vCPUs in one huge page it costs at least a tenth of their throughput.",
                lambda f: kept(f, 16) < 0.9,
            ),
            Claim(
                "With 64 vCPUs the version with the mutex is no faster than with 16 by more than a tenth: the mutex "
                "bounds it.",
                lambda f: (
                    f("rate", version="hugepage-mutex", vcpus=64)
                    < 1.1 * f("rate", version="hugepage-mutex", vcpus=16)
                ),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = []
        for vcpus in _VCPUS:
            plain, mutex = (found("rate", version=v, vcpus=vcpus) for v in _VERSIONS)
            times = [f"{found('p99', version=v, vcpus=vcpus) / 1000:.1f}" for v in _VERSIONS]
            rows.append((str(vcpus), f"{plain:,.0f}", f"{mutex:,.0f}", f"{mutex / plain:.3f}", *times))
        head = (
            "vCPUs",
            "hugepage, faults/ms",
            "hugepage-mutex",
            "against it",
            "p99, µs",
            "with the mutex, µs",
        )
        return [Table("Faults in one page of 1 GiB", head, rows)]

    def charts(self, found: Found) -> list[Chart]:
        lines = {v: [(float(n), found("rate", version=v, vcpus=n)) for n in _VCPUS] for v in _VERSIONS}
        return [Chart("faults in one page of 1 GiB", "vCPUs", "faults per virtual ms", lines)]
