"""Q12: how far a huge page is split for one shared page, and who is disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..point import Point
from .lab import Lab
from .study import Case, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_VERSIONS = ("hugepage-mutex", "hugepage-staged")
_HUGE = 512


class SplitSize(Study):
    key: ClassVar[str] = "Q12"
    slug: ClassVar[str] = "split-size"
    question: ClassVar[str] = (
        "One 4 KiB page of a 1 GiB page becomes shared and private again. What does a split straight to 4 KiB cost "
        "(`hugepage-mutex`) against 1 GiB to 2 MiB to 4 KiB (`hugepage-staged`), and how many faults elsewhere in the "
        "page are retried, as the invalidation is rounded to the huge page?"
    )
    method: ClassVar[str] = (
        "sw-protected. Alone: the conversion there and back, of a page in a touched folio of 2 MiB or 1 GiB. Beside "
        "faults: four vCPUs touch 64 pages each that lie 2 MiB and more away in the same 1 GiB page, while one thread "
        "converts the page again and again. `hugepage-staged` is a what-if, not a posting."
    )
    absent: ClassVar[str] = "The host's page table and its TLB entries for the huge page are not modelled."
    uncertain: ClassVar[tuple[str, ...]] = ("line", "zap_4k", "fault_entry", "shootdown_per_cpu", "wake")
    seeds: ClassVar[tuple[int, ...]] = (1,)

    def cases(self) -> list[Case]:
        return cases(version=_VERSIONS, folio=("2M", "1G"))

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        point = Point(case["version"], "sw-protected", "first-touch", vcpus=5, pages=5, folio=case["folio"])
        lab = Lab(point, costs, seed)
        machine = lab.machine
        page = range(5, 6)
        times: list[int] = []

        async def alone(t: Task) -> None:
            await machine.touch(t, machine.vm.vcpus[0], 0)
            for private in (False, True):
                start = t.engine.now
                await machine.convert(t, page, private)
                times.append(t.engine.now - start)
                if not private:
                    cache = machine.kernel.huge_cache(machine.file.inode)  # type: ignore[attr-defined] # huge only
                    times.append(sum(cache.orders().values()))

        machine.phase(("alone", alone))
        there, folios, back = times
        found = {"there": there, "back": back, "folios": folios, "retries": 0.0, "touches": 0.0}
        if case["folio"] == "1G":
            for number in range(4):
                first = (number + 1) * 8 * _HUGE
                machine.slices[number] = range(first, first + 64 * _HUGE, _HUGE)
                machine.size = _HUGE
                lab.vcpu(number)

            async def convert(t: Task) -> None:
                for _ in range(4):
                    await machine.convert(t, page, False)
                    await machine.convert(t, page, True)

            lab.task(4, convert)
            beside = lab.run()
            found |= {"retries": beside["retries"], "touches": len(lab.latencies), "p99": beside["p99"]}
        return found

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, version: str) -> float:
            return found(measure, version=version, folio="1G")

        straight, staged = _VERSIONS
        return (
            Claim(
                "For one page of 1 GiB a split straight to 4 KiB takes over 20 times as long as one by way of 2 MiB: "
                "it makes 262,144 folios instead of 1,023.",
                lambda f: of(f, "there", straight) > 20 * of(f, "there", staged),
            ),
            Claim(
                "Both merge again on the way back, with the same difference.",
                lambda f: of(f, "back", straight) > 20 * of(f, "back", staged),
            ),
            Claim(
                "Faults elsewhere in the 1 GiB page are retried as long as the conversion lasts: over 50 times as "
                "often with the straight split.",
                lambda f: of(f, "retries", straight) > 50 * of(f, "retries", staged),
            ),
            Claim(
                "For 2 MiB there is no difference.",
                lambda f: f("there", version=straight, folio="2M") == f("there", version=staged, folio="2M"),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = []
        for case in found.cases():
            touches = found.of(case, "touches")
            rows.append(
                (
                    case["folio"],
                    case["version"],
                    f"{found.of(case, 'there') / 1000:,.1f}",
                    f"{found.of(case, 'back') / 1000:,.1f}",
                    f"{found.of(case, 'folios'):,.0f}",
                    f"{found.of(case, 'retries'):,.0f}" if touches else "-",
                )
            )
        head = (
            "huge page",
            "version",
            "to shared, µs",
            "to private, µs",
            "folios between",
            "retries of neighbours",
        )
        return [Table("One 4 KiB page of a huge page", head, rows)]
