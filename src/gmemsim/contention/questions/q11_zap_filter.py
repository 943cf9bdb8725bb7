"""Q11: which mappings a conversion zaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..point import Point
from .lab import Lab
from .study import Case, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...arch.costs import CostTable
    from ...engine.task import Task

_PAGES = 128
_FILTERS = ("both", "present", "old")
_GFN = 1 << 18


def with_both_kinds(patch: type[Kernel]) -> type[Kernel]:
    """A variant whose conversions zap mappings of both kinds."""

    class Both(patch):  # type: ignore[misc, valid-type] # a class that is known at run time
        def convert_filter(self, inode: GmemInode, start: int, end: int, private: bool) -> str:
            return "both"

    Both.name = patch.name
    return Both


class ZapFilter(Study):
    key: ClassVar[str] = "Q11"
    slug: ClassVar[str] = "zap-filter"
    question: ClassVar[str] = (
        "A conversion zaps stage-2 mappings of its range: of both kinds, of every kind that the attributes say is "
        "present (`inplace-v8`), or only of the kind that is being left (`inplace`)? How many does it zap for nothing?"
    )
    method: ClassVar[str] = (
        "128 pages of 4 KiB, all mapped as what they are: a part private already, the others shared. One call makes "
        "all of them private. A mapping that was private before and is gone afterwards was zapped for nothing; on TDX "
        "the page's contents are gone with it. Then one vCPU touches all pages again. `both` is `inplace` "
        "with that filter."
    )
    absent: ClassVar[str] = (
        "What a guest loses by lost contents (it usually dies) is no time and not in the figures."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("zap_4k", "fault_entry", "line", "block", "remove")
    seeds: ClassVar[tuple[int, ...]] = (1,)

    def cases(self) -> list[Case]:
        return cases(arch=("sw-protected", "snp", "tdx"), filter=_FILTERS, private=(0, 64, 127))

    def swept(self) -> list[Case]:
        return [case for case in self.cases() if case["private"] == 127 and case["arch"] != "snp"]

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        patch = "inplace-v8" if case["filter"] == "present" else "inplace"
        point = Point(patch, case["arch"], "first-touch", vcpus=1, pages=_PAGES, release="7.4", costs="full")
        lab = Lab(point, costs, seed, with_both_kinds if case["filter"] == "both" else None)
        machine, kept = lab.machine, case["private"]
        vm, vcpu = machine.vm, machine.vm.vcpus[0]
        shared = None if machine.private is None else False
        times: dict[str, float] = {}

        def mapped() -> int:
            roots = vm.stage2.roots("both")
            return sum(any(gfn in root for root in roots) for gfn in range(_GFN, _GFN + kept))

        async def body(t: Task) -> None:
            if kept < _PAGES:
                await machine.convert(t, range(kept, _PAGES), False)
            await machine.warm(t, vcpu, range(kept))
            for page in range(kept, _PAGES):
                found = await machine.kernel.guest_access(t, vcpu, _GFN + page, shared, None)
                assert found.kind in ("ok", "exception"), found
            before, start = mapped(), t.engine.now
            assert before == kept, before
            await machine.convert(t, range(_PAGES), True)
            times["convert"] = t.engine.now - start
            times["needless"] = before - mapped()
            start = t.engine.now
            await machine.warm(t, vcpu, range(_PAGES))
            times["again"] = t.engine.now - start

        machine.phase(("vcpu0", body))
        return times

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, arch: str, kind: str) -> float:
            return found(measure, arch=arch, filter=kind, private=127)

        return (
            Claim(
                "On TDX, only the kind that is being left: nothing is zapped for nothing.",
                lambda f: of(f, "needless", "tdx", "old") == 0,
            ),
            Claim(
                "On TDX, both kinds or every kind that is present: every page that was private already is lost, 127 of "
                "128 for one page that is converted.",
                lambda f: all(of(f, "needless", "tdx", kind) == 127 for kind in _FILTERS[:2]),
            ),
            Claim(
                "That conversion takes over ten times as long, and touching all pages again too.",
                lambda f: all(
                    of(f, measure, "tdx", kind) > 10 * of(f, measure, "tdx", "old")
                    for measure in ("convert", "again")
                    for kind in _FILTERS[:2]
                ),
            ),
            Claim(
                "Where one table maps both kinds (SNP, sw-protected) the filter changes nothing: a zap goes by range, "
                "and every mapping in it goes. Nothing is lost there but time.",
                lambda f: all(of(f, "needless", "sw-protected", kind) == 127 for kind in _FILTERS),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        names = {
            "both": "both kinds",
            "present": "kinds present (inplace-v8)",
            "old": "the old kind (inplace)",
        }
        rows = [
            (
                case["arch"],
                str(case["private"]),
                names[case["filter"]],
                f"{found.of(case, 'needless'):.0f}",
                f"{found.of(case, 'convert') / 1000:.1f}",
                f"{found.of(case, 'again') / 1000:.1f}",
            )
            for case in sorted(
                found.cases(), key=lambda c: (c["arch"], c["private"], _FILTERS.index(c["filter"]))
            )
        ]
        head = (
            "VM type",
            "private, of 128",
            "what is zapped",
            "needlessly",
            "conversion, µs",
            "touch again, µs",
        )
        return [Table("All of 128 pages are made private", head, rows)]
