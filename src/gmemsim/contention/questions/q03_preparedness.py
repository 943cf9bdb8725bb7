"""Q3: where "prepared" is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..point import Point
from .storm_study import StormStudy
from .study import Case, Chart, Claim, Found, Table, cases

_VERSIONS = ("baseline", "v3", "tracked", "tracked-shared")
_VCPUS = (1, 16, 64)


class Preparedness(StormStudy):
    key: ClassVar[str] = "Q3"
    slug: ClassVar[str] = "preparedness"
    question: ClassVar[str] = (
        "Tracking preparedness: a flag of the folio under its lock (`baseline`), asking the RMP at every fault (`v3`), "
        "or a bit per page in guest_memfd under the invalidate lock (`tracked`: set exclusively; `tracked-shared`: set "
        "by an atomic operation). How many calls of the hook, how many for nothing, how long is the folio lock held?"
    )
    method: ClassVar[str] = (
        "SNP, 4 KiB pages, one file. `refault`: each vCPU touches its slice of 512 pages again after a conversion to "
        "shared and back zapped it. `first-touch`: the same slices, new. The last two versions are nobody's proposal "
        "(`src/gmemsim/patches/tracked.py`); all run on one release, so only the patch differs.\n\n"
        "    gmemsim bench contention --patch baseline,v3,tracked,tracked-shared --costs full \\\n"
        "        --storm refault,first-touch --vcpus 1,16,64 --pages 512 --seeds 3"
    )
    absent: ClassVar[str] = (
        "The tracked variants pay for the bit's look-up and the lock, not for the memory of a bitmap. No published "
        "figure gives this comparison, so none of it is validated by one."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("line", "rmp_lookup", "rmpupdate")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        return cases(storm=("refault", "first-touch"), vcpus=_VCPUS, version=_VERSIONS)

    def swept(self) -> list[Case]:
        return [case for case in self.cases() if case["vcpus"] in (1, 64)]

    def point(self, case: Case) -> Point:
        return Point(case["version"], "snp", case["storm"], vcpus=case["vcpus"], pages=512, release="7.2")

    def claims(self) -> Sequence[Claim]:
        def kept(found: Found, version: str, storm: str, vcpus: int) -> float:
            return found("rate", version=version, storm=storm, vcpus=vcpus) / found(
                "rate", version="baseline", storm=storm, vcpus=vcpus
            )

        return (
            Claim(
                "Asking the RMP at every fault costs less than 2 % of a re-fault with 1 and 64 vCPUs, although "
                "every call is for nothing there.",
                lambda f: all(kept(f, "v3", "refault", n) > 0.98 for n in (1, 64)),
            ),
            Claim(
                "On a first touch it costs nothing: every version asks, and every call does something.",
                lambda f: all(
                    kept(f, "v3", "first-touch", n) > 0.98
                    and not f("no_ops", version="v3", storm="first-touch", vcpus=n)
                    for n in (1, 64)
                ),
            ),
            Claim(
                "A bit under the invalidate lock costs a re-fault more than asking does, with one vCPU.",
                lambda f: kept(f, "tracked-shared", "refault", 1) < kept(f, "v3", "refault", 1),
            ),
            Claim(
                "Set exclusively (`tracked`), first touches of different pages wait for each other: at most 0.75 "
                "of the baseline's throughput with 64 vCPUs.",
                lambda f: kept(f, "tracked", "first-touch", 64) < 0.75,
            ),
            Claim(
                "Set shared (`tracked-shared`), they do not: over 0.9 of it.",
                lambda f: kept(f, "tracked-shared", "first-touch", 64) > 0.9,
            ),
            Claim(
                "With 64 vCPUs re-faults of the tracked variants keep at least 0.9 of the baseline: the lines of "
                "`mmu_lock` and `f_count`, which every version moves, bound all of them alike.",
                lambda f: all(kept(f, v, "refault", 64) > 0.9 for v in ("tracked", "tracked-shared")),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        headings = ("storm", "vCPUs", *(f"{v}, faults/ms" if v == "baseline" else v for v in _VERSIONS))
        rates, hooks = [], []
        for storm in ("refault", "first-touch"):
            for vcpus in _VCPUS:
                base = found("rate", storm=storm, vcpus=vcpus, version="baseline")
                ratios = [found("rate", storm=storm, vcpus=vcpus, version=v) / base for v in _VERSIONS[1:]]
                rates.append((storm, str(vcpus), f"{base:,.0f}", *(f"{ratio:.3f}" for ratio in ratios)))
            for version in _VERSIONS:
                calls = found("prepares", storm=storm, vcpus=16, version=version)
                empty = found("no_ops", storm=storm, vcpus=16, version=version)
                held = found("folio_hold", storm=storm, vcpus=16, version=version)
                share = f"{empty / calls:.0%}" if calls else "-"
                hooks.append((storm, version, f"{calls:,.0f}", share, f"{held:,.0f}"))
        return [
            Table("Throughput: the baseline's, and the others against it", headings, rates),
            Table(
                "The hook and the folio lock, 16 vCPUs",
                ("storm", "version", "hook calls", "for nothing", "folio lock held, ns each"),
                hooks,
            ),
        ]

    def charts(self, found: Found) -> list[Chart]:
        return [
            Chart(
                storm,
                "vCPUs",
                "faults per virtual ms",
                {v: [(n, found("rate", storm=storm, vcpus=n, version=v)) for n in _VCPUS] for v in _VERSIONS},
            )
            for storm in ("refault", "first-touch")
        ]
