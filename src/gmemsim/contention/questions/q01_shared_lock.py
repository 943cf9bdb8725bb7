"""Q1: the shared invalidate lock in every fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..point import Point
from .storm_study import StormStudy
from .study import Case, Chart, Claim, Found, Table, cases

_LOCKS = ("rwsem", "percpu", "srcu", "range", "per-folio", "none")
_ARCHES = ("snp", "tdx", "sw-protected")
_VCPUS = (1, 16, 64)


class SharedLock(StormStudy):
    key: ClassVar[str] = "Q1"
    slug: ClassVar[str] = "shared-invalidate-lock"
    question: ClassVar[str] = (
        "What does the file's invalidate lock cost, taken shared in every fault (`inplace`), against none (`v3`)? And "
        "with another lock in its place: a per-CPU rw-semaphore, SRCU, a range lock, a lock per folio, none?"
    )
    method: ClassVar[str] = (
        "Each vCPU touches its slice of 512 pages of 4 KiB (1,024 in the second part) again after a conversion to "
        "shared and back zapped it. Beside them, in the second part, a VMM thread converts 8 pages of its own every "
        "20 µs. `none` and `srcu` do not exclude a conversion, so they are bounds, no candidates without a re-check; "
        "the range lock and the lock per folio are nobody's proposal (`src/gmemsim/contention/range_locks.py`).\n\n"
        "    gmemsim bench contention --patch v3,inplace --lock rwsem,percpu,srcu,range,per-folio,none \\\n"
        "        --arch snp,tdx,sw-protected --storm refault --background none,convert --vcpus 1,16,64 \\\n"
        "        --pages 512 --costs full --seeds 3"
    )
    absent: ClassVar[str] = (
        "One memslot and one file; back-to-back faults without guest work between them, which is the worst case for "
        "any shared line. No huge folios. On SNP 512 pages are one region of 2 MiB, in which RMPUPDATE is serial: with "
        "more regions in place keeps more (0.7 of v3's for 16 vCPUs with `--pages 2048`)."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("line", "rwsem", "rmpupdate", "wake")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        quiet = cases(background=("none",), arch=_ARCHES, vcpus=_VCPUS, version=("inplace",), lock=_LOCKS)
        quiet += cases(background=("none",), arch=_ARCHES, vcpus=_VCPUS, version=("v3",), lock=("rwsem",))
        busy = cases(background=("convert",), arch=_ARCHES, vcpus=(16, 64), version=("inplace",), lock=_LOCKS)
        busy += cases(background=("convert",), arch=_ARCHES, vcpus=(16, 64), version=("v3",), lock=("rwsem",))
        return quiet + busy

    def swept(self) -> list[Case]:
        return [
            case
            for case in self.cases()
            if case["arch"] != "snp"
            and case["lock"] in ("rwsem", "percpu", "range")
            and (case["vcpus"] in (1, 64) if case["background"] == "none" else case["vcpus"] == 16)
        ] + [
            case
            for case in self.cases()
            if case["arch"] == "snp"
            and case["background"] == "none"
            and case["vcpus"] in (1, 64)
            and case["lock"] in ("rwsem", "percpu")
        ]

    def point(self, case: Case) -> Point:
        return Point(
            case["version"],
            case["arch"],
            "refault",
            case["background"],
            case["vcpus"],
            512 if case["background"] == "none" else 1024,
            release="7.4",
            policy=case["lock"],
        )

    def claims(self) -> Sequence[Claim]:
        def kept(found: Found, arch: str, vcpus: int, lock: str = "rwsem", background: str = "none") -> float:
            axes: dict[str, str | int] = {"background": background, "arch": arch, "vcpus": vcpus}
            mine = found("rate", version="inplace", lock=lock, **axes)
            return mine / found("rate", version="v3", lock="rwsem", **axes)

        return (
            Claim(
                "Without a conversion beside the faults nobody ever waits for the lock: `perf lock contention` shows "
                "nothing of its cost.",
                lambda f: all(
                    f("read_waits", background="none", arch=a, vcpus=64, version="inplace", lock="rwsem") == 0
                    for a in _ARCHES
                ),
            ),
            Claim(
                "On TDX and sw-protected in place keeps at least 0.85 of v3's re-faults with one vCPU, and at least "
                "0.97 with 64: there the lines of `mmu_lock` and `f_count`, which every version moves, bound both.",
                lambda f: all(kept(f, a, 1) > 0.85 and kept(f, a, 64) > 0.97 for a in _ARCHES[1:]),
            ),
            Claim(
                "A per-CPU rw-semaphore in its place gives at most 5 % more with 64 vCPUs.",
                lambda f: all(kept(f, a, 64, "percpu") < 1.05 * kept(f, a, 64) for a in _ARCHES[1:]),
            ),
            Claim(
                "Without a conversion a range lock gives nothing: its tree is one more shared line.",
                lambda f: all(kept(f, a, 64, "range") < 1.02 * kept(f, a, 64) for a in _ARCHES[1:]),
            ),
            Claim(
                "On SNP in place keeps less than 0.8 of v3's, and not for the lock: a conversion in place gives the "
                "page's RMP entry back, so a re-fault pays RMPUPDATE again. A per-CPU rw-semaphore changes that by "
                "less than 10 %.",
                lambda f: all(
                    kept(f, "snp", n) < 0.8 and abs(kept(f, "snp", n, "percpu") / kept(f, "snp", n) - 1) < 0.1
                    for n in (1, 64)
                ),
            ),
            Claim(
                "What costs is a conversion beside the faults, where it holds the lock long. On TDX every page is "
                "removed under it, and in place keeps less than 0.4 of v3's throughput with 16 vCPUs and one thread "
                "that converts.",
                lambda f: kept(f, "tdx", 16, "rwsem", "convert") < 0.4,
            ),
            Claim(
                "A per-CPU rw-semaphore does not help there; a lock of the range gives at least 0.85 of v3's back.",
                lambda f: (
                    kept(f, "tdx", 16, "percpu", "convert") < 0.4
                    and kept(f, "tdx", 16, "range", "convert") > 0.85
                ),
            ),
            Claim(
                "On sw-protected, where a conversion is short, in place keeps at least 0.8 beside it.",
                lambda f: kept(f, "sw-protected", 16, "rwsem", "convert") > 0.8,
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        quiet, busy = [], []
        for arch in _ARCHES:
            for vcpus in _VCPUS:
                axes: dict[str, str | int] = {"background": "none", "arch": arch, "vcpus": vcpus}
                base = found("rate", version="v3", lock="rwsem", **axes)
                rates = [found("rate", version="inplace", lock=lock, **axes) / base for lock in _LOCKS]
                quiet.append((arch, str(vcpus), f"{base:,.0f}", *(f"{rate:.3f}" for rate in rates)))
            for vcpus in (16, 64):
                axes = {"background": "convert", "arch": arch, "vcpus": vcpus}
                busy.append(_busy(found, "v3", {**axes, "lock": "rwsem"}))
                busy += [_busy(found, "inplace", {**axes, "lock": lock}) for lock in _LOCKS]
        head = ("VM type", "vCPUs", "v3, faults/ms", *(f"inplace {lock}" for lock in _LOCKS))
        beside = (
            "VM type",
            "vCPUs",
            "version",
            "faults/ms",
            "p50, µs",
            "p99, µs",
            "waited for the lock",
            "longest, µs",
        )
        return [
            Table("Re-faults: v3's rate, and in place against it", head, quiet),
            Table("With a thread that converts", (*beside, "pairs of conversions/ms"), busy),
        ]

    def charts(self, found: Found) -> list[Chart]:
        def line(arch: str, version: str, lock: str) -> list[tuple[float, float]]:
            axes: dict[str, str | int] = {
                "background": "none",
                "arch": arch,
                "version": version,
                "lock": lock,
            }
            return [(n, found("rate", vcpus=n, **axes)) for n in _VCPUS]

        return [
            Chart(
                arch,
                "vCPUs",
                "faults per virtual ms",
                {
                    "v3": line(arch, "v3", "rwsem"),
                    **{
                        f"inplace {lock}": line(arch, "inplace", lock)
                        for lock in ("rwsem", "percpu", "range")
                    },
                },
            )
            for arch in _ARCHES
        ]


def _busy(found: Found, version: str, axes: dict[str, str | int]) -> tuple[str, ...]:
    def get(measure: str) -> float:
        return found(measure, version=version, **axes)

    label = version if version == "v3" else f"inplace {axes['lock']}"
    return (
        str(axes["arch"]),
        str(axes["vcpus"]),
        label,
        f"{get('rate'):,.0f}",
        f"{get('p50') / 1000:.2f}",
        f"{get('p99') / 1000:.2f}",
        f"{get('read_waits') / get('units'):.1%}",
        f"{get('read_wait_max') / 1000:.1f}",
        f"{get('background'):.1f}",
    )
