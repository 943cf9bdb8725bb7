"""Write docs/studies/shared-invalidate-lock.md (between its markers) and its picture.

    python docs/generate_study_shared_lock.py [--check]

`--check` writes nothing and fails if anything would change. Virtual time: two runs write the same bytes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from gmemsim.arch.costs import CostTable
from gmemsim.contention.plot import to_image
from gmemsim.contention.point import Point
from gmemsim.contention.storm import run
from gmemsim.contention.sweep import points, run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gmemsim.contention.result import Result

HERE = Path(__file__).parent / "studies"
VCPUS = (1, 4, 16, 64, 256)
ARCHES = ("snp", "tdx", "sw-protected")
#: v3's fault takes no invalidate lock: what the lock of the in-place series costs is measured against it.
RIVALS = (("v3", "rwsem"), *(("inplace", lock) for lock in ("rwsem", "percpu", "srcu", "none")))
COMMON = Point(pages=2048)
LINES = ({"line": 25}, {"line": 80}, {"line": 200})


def sweep(storm: str, background: str, lines: bool, vcpus: Sequence[int] = VCPUS) -> list[Result]:
    """Every rival on every VM type."""
    found = []
    for patch, lock in RIVALS:
        found += run_all(
            points(
                patches=(patch,),
                arches=ARCHES,
                storms=(storm,),
                backgrounds=(background,),
                vcpus=vcpus,
                policies=(lock,),
                common=attrs.evolve(COMMON, release="7.3", other_lines=lines),
            )
        )
    return found


def rates(results: Sequence[Result]) -> str:
    """Faults a virtual ms, a row a VM type and number of vCPUs, and what is waited for under the kernel's lock."""
    labels = list(dict.fromkeys(r.point.label for r in results))
    lines = [
        "| VM type | vCPUs | " + " | ".join(labels) + " | inplace waits most for |",
        "|---|--:|" + "--:|" * len(labels) + "---|",
    ]
    for arch in ARCHES:
        for vcpus in dict.fromkeys(r.point.vcpus for r in results):
            mine = {r.point.label: r for r in results if (r.point.arch, r.point.vcpus) == (arch, vcpus)}
            cells = " | ".join(f"{mine[label].faults_per_ms:,.0f}" for label in labels)
            most = mine["inplace"].bottleneck
            name = f"{most.name}, {most.share:.0%}" if most.name else "nothing"
            lines.append(f"| {arch} | {vcpus} | {cells} | {name} |")
    return "\n".join(lines)


def latencies(results: Sequence[Result]) -> str:
    """Median and 99th percentile in virtual µs, and how often a fault waited for the lock."""
    lines = [
        "| VM type | vCPUs | version | p50, µs | p99, µs | faults that waited for the lock | longest wait, µs "
        "| pairs of conversions a ms |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for r in sorted(results, key=lambda r: (ARCHES.index(r.point.arch), r.point.vcpus)):
        read = r.lock("invalidate_lock:r")
        lines.append(
            f"| {r.point.arch} | {r.point.vcpus} | {r.point.label} | {r.p50 / 1000:.2f} | {r.p99 / 1000:.2f} "
            f"| {read.contentions} of {r.faults} | {read.wait_max / 1000:.1f} "
            f"| {1e6 * r.background_operations / r.virtual_ns:.1f} |"
        )
    return "\n".join(lines)


def uncertain() -> str:
    """In place against v3 for each cost of a cache line, with and without the lines that every fault moves."""
    lines = [
        "| VM type | moving a line | vCPUs | inplace / v3, lock's line alone | f_count and mmu_lock charged too |",
        "|---|--:|--:|--:|--:|",
    ]
    for arch in ARCHES:
        for change in LINES:
            costs = CostTable.default(arch).replace(**change)
            for vcpus in (1, 16, 64, 256):
                cells = []
                for charged in (False, True):
                    point = attrs.evolve(
                        COMMON, arch=arch, storm="refault", vcpus=vcpus, other_lines=charged, release="7.3"
                    )
                    old, new = (run(attrs.evolve(point, patch=patch), costs) for patch in ("v3", "inplace"))
                    cells.append(f"{new.faults_per_ms / old.faults_per_ms:.2f}")
                lines.append(f"| {arch} | {change['line']} ns | {vcpus} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def sections() -> tuple[dict[str, str], bytes]:
    """All generated parts, and the picture."""
    free = sweep("refault", "none", False)
    charged = sweep("refault", "none", True)
    first = sweep("first-touch", "none", False, (1, 16, 256))
    beside = sweep("refault", "convert", True, (16, 64))
    parts = {
        "refault": rates(free),
        "refault-charged": rates(charged),
        "first-touch": rates(first),
        "convert": latencies([r for r in beside if r.point.policy in {"rwsem", "percpu", "srcu"}]),
        "uncertain": uncertain(),
    }
    shown = [r for r in (*free, *charged) if r.point.arch == "tdx"]
    return parts, to_image(shown, "svg")


def main() -> int:
    """Write, or check."""
    page, image = HERE / "shared-invalidate-lock.md", HERE / "shared-invalidate-lock.svg"
    old = new = page.read_text()
    parts, picture = sections()
    for name, text in parts.items():
        pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        new, count = pattern.subn(lambda m, text=text: f"{m[1]}\n{text}\n\n{m[2]}", new)  # type: ignore[misc]
        if count != 1:
            print(f"{page}: no place for {name}", file=sys.stderr)
            return 2
    if "--check" in sys.argv:
        return int(new != old or image.read_bytes() != picture)
    page.write_text(new)
    image.write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
