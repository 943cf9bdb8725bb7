"""Q5: how much of a populate is one section of the invalidate lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...actors.gmem_populate import Source
from ..point import Point
from .lab import Lab
from .study import Case, Chart, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_PAGES = 128
_WAYS = (("v3", 128), ("baseline", 1), ("baseline", 8), ("baseline", 32), ("baseline", 128))
_GFN = 1 << 18


class PopulateSections(Study):
    key: ClassVar[str] = "Q5"
    slug: ClassVar[str] = "populate-sections"
    question: ClassVar[str] = (
        "A launch populates pages under the exclusive invalidate lock: one long section (`baseline`, `v1`), one a page "
        "(`v3`), or batches? Launch time against the latency of others who need the lock."
    )
    method: ClassVar[str] = (
        "128 pages of 4 KiB are populated: by `v3` in one call, which takes the lock once a page, and by `baseline`, "
        "which takes it once a call, with 1, 8, 32 and 128 pages a call. Beside it another thread punches 8 pages of "
        "its own (holes already), with pauses of 1.8 ms (SNP) or 15 µs (TDX) on average. The source's pages are "
        "present, so no user fault happens under the lock."
    )
    absent: ClassVar[str] = (
        "A source page that is not present makes `baseline` take mmap_lock under the invalidate lock, which this does "
        "not show. The security processor's 1.8 ms a page is an estimate (1.0 to 3.1 ms)."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("psp_launch_update", "page_add", "wake", "syscall")
    main: ClassVar[str] = "span"

    def cases(self) -> list[Case]:
        made = []
        for case in cases(arch=("snp", "tdx"), way=range(len(_WAYS))):
            version, pages = _WAYS[case["way"]]
            made.append(Case((("arch", case["arch"]), ("version", version), ("pages", pages))))
        return made

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        point = Point(
            case["version"], case["arch"], "populate", vcpus=2, pages=2 * _PAGES, costs="full", release="7.2"
        )
        lab = Lab(point, costs, seed)
        machine, size = lab.machine, case["pages"]

        async def launch(t: Task) -> None:
            for first in range(0, _PAGES, size):
                await t.spend(costs.syscall)
                await machine.vm.lock.lock(t)
                await machine.vm.slots_lock.lock(t)
                source = Source(machine.process, ("image",) * size)
                ret = await machine.kernel.kvm_gmem_populate(t, machine.vm, _GFN + first, size, source)
                await machine.vm.slots_lock.unlock(t)
                await machine.vm.lock.unlock(t)
                await machine.kernel.task_work_run(t)
                assert ret == size, ret

        lab.task(0, launch)
        pause = costs.psp_launch_update if case["arch"] == "snp" else 10 * costs.page_add
        lab.beside(1, machine.punch, pause)
        return lab.run()

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, arch: str, version: str, pages: int) -> float:
            return found(measure, arch=arch, version=version, pages=pages)

        return (
            Claim(
                "One section over 128 pages makes no launch faster: less than 5 % against one a page.",
                lambda f: all(
                    of(f, "span", a, "v3", 128) < 1.05 * of(f, "span", a, "baseline", 128)
                    for a in ("snp", "tdx")
                ),
            ),
            Claim(
                "Who needs the lock meanwhile waits a few pages' time under `v3`, and under one section nearly "
                "as long as the launch: over 10 times as long.",
                lambda f: all(
                    of(f, "op_max", a, "baseline", 128) > 10 * of(f, "op_max", a, "v3", 128)
                    for a in ("snp", "tdx")
                ),
            ),
            Claim(
                "Batches of 8 make that wait at least twice as long as one page a section does, and win less than 10 % "
                "of launch time.",
                lambda f: all(
                    of(f, "op_max", a, "baseline", 8) > 2 * of(f, "op_max", a, "baseline", 1)
                    and of(f, "span", a, "baseline", 8) > 0.9 * of(f, "span", a, "baseline", 1)
                    for a in ("snp", "tdx")
                ),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = []
        for case in found.cases():
            how = "one a page" if case["version"] == "v3" else f"one a call of {case['pages']}"
            rows.append(
                (
                    case["arch"],
                    case["version"],
                    how,
                    f"{found.of(case, 'span') / 1e3:,.0f}",
                    f"{found.of(case, 'write_hold_max') / 1e3:,.1f}",
                    f"{found.of(case, 'op_p50') / 1e3:,.1f}",
                    f"{found.of(case, 'op_max') / 1e3:,.1f}",
                )
            )
        head = ("VM type", "version", "sections", "launch, µs", "lock held at most, µs")
        return [Table("128 pages, and punches beside them", (*head, "a punch p50, µs", "longest, µs"), rows)]

    def charts(self, found: Found) -> list[Chart]:
        sizes = (1, 8, 32, 128)
        lines = {
            arch: [(float(n), found("op_max", arch=arch, version="baseline", pages=n) / 1e6) for n in sizes]
            for arch in ("snp", "tdx")
        }
        return [Chart("longest punch beside a launch", "pages a section", "virtual ms", lines)]
