"""Write the figures of docs/contention.md (between its markers) and docs/contention.svg.

    python docs/generate_contention.py [--check]

`--check` writes nothing and fails if anything would change.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gmemsim.contention.contended import perf_report
from gmemsim.contention.plot import to_image
from gmemsim.contention.point import Point
from gmemsim.contention.result import Result
from gmemsim.contention.sweep import PATCHES, points, run_all, sensitivity

HERE = Path(__file__).parent
STORMS = ("refault", "first-touch")
RIVALS = PATCHES[1:]


def us(ns: int) -> str:
    return f"{ns / 1000:.2f}"


def throughput(results: list[Result]) -> str:
    """Rate of the first patch, and the others against it."""
    lines = [
        "| storm | lines of f_count, mmu_lock | vCPUs | baseline, faults/ms | v3 | tracked | tracked-shared |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for number in range(0, len(results), len(PATCHES)):
        first, *others = results[number : number + len(PATCHES)]
        ratios = " | ".join(f"{other.faults_per_ms / first.faults_per_ms:.3f}" for other in others)
        charged = "charged" if first.point.other_lines else "free"
        lines.append(
            f"| {first.point.storm} | {charged} | {first.point.vcpus} | {first.faults_per_ms:,.0f} | {ratios} |"
        )
    return "\n".join(lines)


def latency(results: list[Result]) -> str:
    """Percentiles and the invalidate lock, a row a point."""
    lines = [
        "| background | vCPUs | patch | faults/ms | p50 | p90 | p99 | max | hook calls "
        "| invalidate_lock r: taken, waited | w: taken, waited |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        read, write = r.lock("invalidate_lock:r"), r.lock("invalidate_lock:w")
        times = " | ".join(us(ns) for ns in (r.p50, r.p90, r.p99, r.longest))
        lines.append(
            f"| {r.point.background} | {r.point.vcpus} | {r.point.patch} | {r.faults_per_ms:,.0f} | {times} "
            f"| {r.prepares} | {read.acquisitions}, {read.contentions} "
            f"| {write.acquisitions}, {write.contentions} |"
        )
    return "\n".join(lines)


def corners() -> str:
    """Lowest and highest ratio to the baseline over all corners."""
    wanted = points(storms=STORMS, backgrounds=("none",), vcpus=(1, 16, 64), common=Point(pages=256))
    found = sensitivity(wanted)
    lines = [
        f"Over {len(found) // 2} corners, throughput against baseline, lowest to highest:",
        "",
        "| storm | vCPUs | patch | lines free | lines charged |",
        "|---|--:|---|--:|--:|",
    ]
    for storm in STORMS:
        for vcpus in (1, 16, 64):
            for patch in RIVALS:
                cells = []
                for charged in (False, True):
                    ratios = []
                    for corner, results in found:
                        if corner.other_lines == charged:
                            rate = {
                                r.point.patch: r.faults_per_ms
                                for r in results
                                if (r.point.storm, r.point.vcpus) == (storm, vcpus)
                            }
                            ratios.append(rate[patch] / rate["baseline"])
                    cells.append(f"{min(ratios):.3f} to {max(ratios):.3f}")
                lines.append(f"| {storm} | {vcpus} | {patch} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def sections() -> tuple[dict[str, str], bytes]:
    """All generated parts, and the picture."""
    both = []
    for lines in (False, True):
        both += run_all(points(storms=STORMS, backgrounds=("none",), common=Point(other_lines=lines)))
    few = [r for r in both if r.point.vcpus in (1, 4, 16, 64)]
    few.sort(key=lambda r: (STORMS.index(r.point.storm), r.point.other_lines, r.point.vcpus))
    with_background = run_all(
        points(
            storms=("refault",),
            backgrounds=("none", "punch", "convert"),
            vcpus=(1, 16),
            common=Point(pages=2048, other_lines=True),
        )
    )
    perf = next(
        r
        for r in both
        if (r.point.patch, r.point.storm, r.point.vcpus, r.point.other_lines)
        == ("tracked", "first-touch", 16, False)
    )
    parts = {
        "throughput": throughput(few),
        "background": latency(with_background),
        "perf": f"```\n{perf_report(perf.perf).rstrip()}\n```",
        "corners": corners(),
    }
    return parts, to_image(both, "svg")


def main() -> int:
    """Write, or check."""
    page = HERE / "contention.md"
    old = new = page.read_text()
    parts, picture = sections()
    for name, text in parts.items():
        pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        new, count = pattern.subn(lambda m, text=text: f"{m[1]}\n{text}\n\n{m[2]}", new)  # type: ignore[misc]
        if count != 1:
            print(f"{page}: no place for {name}", file=sys.stderr)
            return 2
    image = HERE / "contention.svg"
    if "--check" in sys.argv:
        return int(new != old or image.read_bytes() != picture)
    page.write_text(new)
    image.write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
