"""Q8: how much of a huge folio is cleared at its first touch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from ..point import FOLIOS, Point
from .lab import Lab
from .study import Case, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_VCPUS = 8


class ClearSize(Study):
    key: ClassVar[str] = "Q8"
    slug: ClassVar[str] = "clear-size"
    question: ClassVar[str] = (
        "A huge folio is cleared whole at its first touch, under its lock and the shared invalidate lock. What does "
        "the first touch pay, what do others pay who come meanwhile, and what would clearing by 4 KiB page save?"
    )
    method: ClassVar[str] = (
        "sw-protected, `hugepage-mutex`. Eight vCPUs touch one folio of 4 KiB (`inplace`), 2 MiB or 1 GiB, each "
        "another page of it where it has several, within 20 µs; 30 µs after the first another thread converts a page "
        "of another folio. By page: the same eight vCPUs touch one page each of a file of 4 KiB folios."
    )
    absent: ClassVar[str] = (
        "Clearing by page needs a record of what is clear, a bit a page: its memory and look-up are not charged. The "
        "rate of clearing is that of one CPU from a cold folio."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("clear_2m", "clear_4k", "wake", "line")
    seeds: ClassVar[tuple[int, ...]] = (1, 2, 3)
    main: ClassVar[str] = "max"

    def cases(self) -> list[Case]:
        return cases(folio=tuple(FOLIOS))

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        folio = case["folio"]
        patch = "inplace" if folio == "4K" else "hugepage-mutex"
        point = Point(
            patch, "sw-protected", "first-touch", vcpus=_VCPUS + 1, pages=9, folio=folio, costs="full"
        )
        lab = Lab(point, costs, seed)
        machine = lab.machine
        other = machine.slices[_VCPUS].start
        machine.phase(
            ("setup", partial(machine.warm, vcpu=machine.vm.vcpus[_VCPUS], pages=range(other, other + 1)))
        )
        waited: list[int] = []

        async def convert(t: Task) -> None:
            await t.spend(30_000)
            start = t.engine.now
            await machine.convert(t, range(other, other + 1), False)
            waited.append(t.engine.now - start)

        for number in range(_VCPUS):
            first = number if machine.size == 1 else number * (machine.size // _VCPUS)
            machine.slices[number] = range(first, first + 1)
            lab.vcpu(number)
        lab.task(_VCPUS, convert)
        return {**lab.run(), "first": min(lab.latencies), "conversion": waited[0]}

    def claims(self) -> Sequence[Claim]:
        return (
            Claim(
                "Whoever touches a 2 MiB folio first, or meanwhile, waits over 20 times as long as for 4 KiB, "
                "for 1 GiB over 10,000 times.",
                lambda f: (
                    f("max", folio="2M") > 20 * f("max", folio="4K")
                    and f("max", folio="1G") > 10_000 * f("max", folio="4K")
                ),
            ),
            Claim(
                "All eight wait for the one clear: the quickest of them takes at least 80 % of the slowest's time.",
                lambda f: all(f("first", folio=size) > 0.8 * f("max", folio=size) for size in ("2M", "1G")),
            ),
            Claim(
                "A conversion of another folio of the file waits too, as the clear holds the invalidate lock shared: "
                "over half of the clear's time.",
                lambda f: all(
                    f("conversion", folio=size) > 0.5 * f("max", folio=size) for size in ("2M", "1G")
                ),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = [
            (
                case["folio"],
                f"{found.of(case, 'first') / 1000:,.1f}",
                f"{found.of(case, 'max') / 1000:,.1f}",
                f"{found.of(case, 'conversion') / 1000:,.1f}",
            )
            for case in found.cases()
        ]
        head = ("folio", "quickest of 8 touches, µs", "slowest, µs", "a conversion of another folio, µs")
        return [Table("The first touch of a folio", head, rows)]
