"""Q13: when a huge page whose parts were given back is whole again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..point import FOLIOS, Point
from .lab import Lab
from .study import Case, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_VERSIONS = ("hugepage", "hugepage-mutex")


class HoleAndPool(Study):
    key: ClassVar[str] = "Q13"
    slug: ClassVar[str] = "hole-and-pool"
    question: ClassVar[str] = (
        "A hole over a split huge page: merge while punching (`hugepage`), or leave the parts to a worker that merges "
        "when the last came back (`hugepage-mutex`)? How long is the hole, and how long is the pool short of the page "
        "for whoever allocates next?"
    )
    method: ClassVar[str] = (
        "sw-protected, one huge page of 2 MiB or 1 GiB of which one 4 KiB page is shared, so all of it is split. It is "
        "punched whole, and the time is taken when the call returns and when the file's pool has the page again."
    )
    absent: ClassVar[str] = (
        "Nobody pins a part here. A pin keeps the page out of the pool for as long as it lasts in the version with the "
        "worker; the other one refuses the hole with -EAGAIN instead."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("wake", "line", "alloc_4k", "zap_4k")
    seeds: ClassVar[tuple[int, ...]] = (1,)

    def cases(self) -> list[Case]:
        return cases(version=_VERSIONS, folio=("2M", "1G"))

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        size = FOLIOS[case["folio"]]
        point = Point(case["version"], "sw-protected", "first-touch", vcpus=1, pages=2, folio=case["folio"])
        lab = Lab(point, costs, seed)
        machine = lab.machine
        kernel: Any = machine.kernel
        inode = machine.file.inode
        pool = kernel.subpools[inode.label]
        times: dict[str, float] = {}

        async def split(t: Task) -> None:
            await machine.touch(t, machine.vm.vcpus[0], 0)
            await machine.convert(t, range(5, 6), False)

        machine.phase(("setup", split))
        began = machine.now

        async def hole(t: Task) -> None:
            ret = await kernel.kvm_gmem_punch_hole(t, inode, 0, size)
            assert ret == 0, ret
            times["hole"] = t.engine.now - began
            while pool.used:
                await t.sleep(1_000)
            times["whole"] = t.engine.now - began

        machine.phase(("hole", hole))
        return times

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, version: str, folio: str = "1G") -> float:
            return found(measure, version=version, folio=folio)

        merging, leaving = _VERSIONS
        return (
            Claim(
                "The hole itself is shorter if parts are left to the worker.",
                lambda f: all(
                    of(f, "hole", leaving, size) < of(f, "hole", merging, size) for size in ("2M", "1G")
                ),
            ),
            Claim(
                "The pool has a page of 1 GiB back at about the same time in both: within 20 %.",
                lambda f: abs(of(f, "whole", leaving) / of(f, "whole", merging) - 1) < 0.2,
            ),
            Claim(
                "An allocation right after the hole fails only with the worker: there the pool is short of the page "
                "for a time after the call has returned.",
                lambda f: (
                    of(f, "whole", merging) - of(f, "hole", merging) < 1_000
                    and of(f, "whole", leaving) - of(f, "hole", leaving) > 1_000
                ),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = [
            (
                case["folio"],
                case["version"],
                f"{found.of(case, 'hole') / 1000:,.1f}",
                f"{found.of(case, 'whole') / 1000:,.1f}",
                f"{(found.of(case, 'whole') - found.of(case, 'hole')) / 1000:,.1f}",
            )
            for case in sorted(found.cases(), key=lambda case: (case["folio"] == "1G", case["version"]))
        ]
        head = ("huge page", "version", "hole, µs", "pool whole after, µs", "short of it after the call, µs")
        return [Table("A hole over a split huge page", head, rows)]
