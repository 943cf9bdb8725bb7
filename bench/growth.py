"""What a storm costs this machine: CPU time of an operation as vCPUs are added, and memory as pages are.

    python bench/growth.py                 # CPU time a unit of work, 1 to 512 vCPUs: flat within 2 x?
    python bench/growth.py --large         # the boot storms: 1 TiB in 2 MiB folios, 16 GiB in 4 KiB pages

Each point of the first table runs in this process, with as many folios a vCPU everywhere (1,024 at least). Time is the
process's own (`time.process_time`), the least of three. The large storms run in processes of their own, one after
another, for their peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

from gmemsim.contention.point import CannotError, Point, check
from gmemsim.contention.storm import run

VCPUS = (1, 8, 64, 512)
#: Folios of a point, so that the clock has something to see.
LEAST = 1024
STORMS = ("first-touch", "refault", "accept", "prefault", "convert", "punch")
LARGE = {
    f"{name}, {arch}": Point(patch, arch, "first-touch", "none", vcpus, pages, folio)
    for name, patch, folio, vcpus, pages in (
        ("256 vCPUs, 1 TiB in 2 MiB folios", "hugepage", "2M", 256, 1 << 19),
        ("64 vCPUs, 16 GiB in 4 KiB pages", "v3", "4K", 64, 1 << 22),
    )
    for arch in ("sw-protected", "snp", "tdx")
}


def cost(point: Point, times: int) -> float:
    """Microseconds of CPU time a unit of work, without what the same storm with one unit a vCPU costs."""

    def seconds(pages: int) -> tuple[float, int]:
        began = time.process_time()
        result = run(
            Point(point.patch, point.arch, point.storm, "none", point.vcpus, pages, costs=point.costs)
        )
        return time.process_time() - began, result.faults

    whole = [seconds(point.pages) for _ in range(times)]
    little = [seconds(point.vcpus) for _ in range(times)]
    extra = min(second for second, _ in whole) - min(second for second, _ in little)
    return extra / max(1, whole[0][1] - little[0][1]) * 1e6


def growth(each: int, costs: str, storms: list[str], version: str) -> None:
    """The first table."""
    print(f"| VM type | storm | {' | '.join(f'{n} vCPUs' for n in VCPUS)} | most / least |")
    print(f"|---|---|{'--:|' * (len(VCPUS) + 1)}")
    for arch, patch in (("sw-protected", "v3"), ("snp", "v3"), ("tdx", "v3"), ("snp", "inplace")):
        for storm in storms if version in f"{arch} {patch}" else ():
            points = [Point(patch, arch, storm, "none", n, max(each * n, LEAST), costs=costs) for n in VCPUS]
            try:
                check(points[0])
            except CannotError:
                continue
            found = [cost(point, 3) for point in points]
            cells = " | ".join(f"{us:.0f} µs" for us in found)
            print(f"| {arch} {patch} | {storm} | {cells} | {max(found) / min(found):.1f} |", flush=True)


def large(name: str) -> None:
    """One boot storm, in this process."""
    began = time.process_time()
    result = run(LARGE[name])
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {name} | {result.faults:,} | {result.virtual_ns / 1e9:.3f} s | {seconds:.0f} s "
        f"| {peak:,.0f} MiB | {result.bottleneck} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=32, help="folios a vCPU")
    parser.add_argument("--costs", default="generic")
    parser.add_argument("--version", default="", help="a part of a row's VM type and version")
    parser.add_argument("--storm", default=",".join(STORMS))
    parser.add_argument("--large", nargs="?", const="all", help="all, or a part of a name")
    options = parser.parse_args()
    if options.large is None:
        growth(options.each, options.costs, options.storm.split(","), options.version)
        return
    names = [name for name in LARGE if options.large in ("all", name) or options.large in name]
    if len(names) == 1:
        large(names[0])
        return
    print(
        "| storm | faults | virtual time | CPU time | peak memory | bottleneck |\n|---|--:|--:|--:|--:|---|",
        flush=True,
    )
    for name in names:
        child = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, __file__, "--large", name])
        if child:
            print(f"| {name} | failed: {child} | | | | |")


if __name__ == "__main__":
    main()
