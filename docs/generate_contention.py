"""Write the figures of docs/contention.md (between its markers) and docs/contention.svg from one results file.

    python docs/generate_contention.py [--check]
    python docs/generate_contention.py --run FILE.state [--jobs 2]

The results are docs/contention.jsonl.zst, a state file of `gmemsim bench contention`. With `--run` the points that
FILE.state lacks are run first, and the results file is made of it. `--check` runs and writes nothing and fails if
anything would change.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import msgspec
import zstandard

from gmemsim.contention.campaign import Cell, done_of, open_state, run_cell
from gmemsim.contention.contended import perf_report
from gmemsim.contention.intervals import by_point, interval, ratio
from gmemsim.contention.lock_stat import lock_stat
from gmemsim.contention.plot import to_image
from gmemsim.contention.point import CannotError, Point, check
from gmemsim.contention.result import Result
from gmemsim.contention.storms import STORMS
from gmemsim.jobs.share import place, share

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
RESULTS = HERE / "contention.jsonl.zst"
VERSIONS = ("baseline", "v3", "inplace-v8", "inplace", "hugepage")
ARCHES = ("snp", "tdx", "sw-protected")
ALL = ("first-touch", "refault", "convert", "punch", "accept", "populate")
VCPUS = (1, 4, 16, 64, 256, 512)
FULL = Point(costs="full", release="7.4", pages=512, vcpus=16, seed=1)


def storms() -> list[Point]:
    """Every version on every VM type, what it can do."""
    made = [
        attrs.evolve(FULL, patch=patch, arch=arch, storm=storm)
        for arch in ARCHES
        for storm in ALL
        for patch in VERSIONS
    ]
    return [point for point in made if _can(point)]


def growth() -> list[Point]:
    """Re-faults over vCPUs."""
    return [
        attrs.evolve(FULL, patch=patch, arch=arch, storm="refault", vcpus=vcpus, pages=1024, costs="milan")
        for arch in ARCHES
        for vcpus in VCPUS
        for patch in ("v3", "inplace")
    ]


def folios() -> list[Point]:
    """First touches by folio size."""
    made = [
        attrs.evolve(FULL, patch="hugepage", arch=arch, storm="first-touch", folio=folio, pages=16)
        for arch in ARCHES
        for folio in ("4K", "2M", "1G")
    ]
    return [point for point in made if _can(point)]


def repeated() -> list[Point]:
    """Seeds, with a warm-up cut."""
    return [
        attrs.evolve(
            FULL,
            patch=patch,
            arch="sw-protected",
            storm="refault",
            background="convert",
            pages=2048,
            seed=seed,
            warmup=20,
        )
        for patch in ("v3", "inplace")
        for seed in range(1, 11)
    ]


def _can(point: Point) -> bool:
    try:
        check(point)
    except CannotError:
        return False
    return True


def us(ns: float) -> str:
    return f"{ns / 1000:,.2f}"


def _mean(values: Iterable[int]) -> str:
    listed = list(values)
    return f"{sum(listed) / len(listed):,.0f}"


def storms_table(results: dict[Point, Result]) -> str:
    """A row a VM type and storm: rates by version, and what the latest in place waits for."""
    lines = [
        "| VM type | storm | " + " | ".join(VERSIONS) + " | `inplace` waits most for |",
        "|---|---|" + "--:|" * len(VERSIONS) + "---|",
    ]
    points = storms()
    for arch in ARCHES:
        for storm in ALL:
            mine = {p.patch: results[p] for p in points if (p.arch, p.storm) == (arch, storm)}
            if not mine:
                continue
            cells = " | ".join(f"{mine[v].faults_per_ms:,.0f}" if v in mine else "-" for v in VERSIONS)
            most = mine["inplace"].bottleneck if "inplace" in mine else None
            name = f"{most.name}, {most.share:.0%}" if most and most.name else "nothing"
            lines.append(f"| {arch} | {storm}, {STORMS[storm].unit}/ms | {cells} | {name} |")
    return "\n".join(lines)


def growth_table(results: dict[Point, Result]) -> str:
    """In place against v3 by vCPUs."""
    lines = ["| VM type | " + " | ".join(f"{n} vCPUs" for n in VCPUS) + " |", "|---|" + "--:|" * len(VCPUS)]
    rates = {(p.arch, p.vcpus, p.patch): results[p].faults_per_ms for p in growth()}
    for arch in ARCHES:
        cells = [
            f"{rates[arch, n, 'v3']:,.0f}, {rates[arch, n, 'inplace'] / rates[arch, n, 'v3']:.2f}"
            for n in VCPUS
        ]
        lines.append(f"| {arch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def folio_table(results: dict[Point, Result]) -> str:
    """Latency of a first touch by folio size."""
    lines = [
        "| VM type | folio | folios/ms | GiB/s | p50, µs | p99, µs | waits most for |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for point in folios():
        r = results[point]
        gib = r.faults_per_ms * 1000 * point.folio_pages * 4096 / (1 << 30)
        most = f"{r.bottleneck.name}, {r.bottleneck.share:.0%}" if r.bottleneck.name else "nothing"
        figures = (f"{r.faults_per_ms:,.3f}", f"{gib:,.2f}", us(r.p50), us(r.p99))
        lines.append(f"| {point.arch} | {point.folio} | {' | '.join(figures)} | {most} |")
    return "\n".join(lines)


def repeated_table(results: dict[Point, Result]) -> str:
    """Means with intervals, and work for nothing."""
    lines = [
        "| version | faults/ms | against v3 | p50, µs | p99, µs | retries, false ones | hook calls, for nothing "
        "| longest convoy | conversions overtaken by |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    groups = list(by_point(results[p] for p in repeated()).values())
    for runs in groups:
        rate = interval([r.faults_per_ms for r in runs])
        p50, p99 = (interval([value(r) / 1000 for r in runs]) for value in (lambda r: r.p50, lambda r: r.p99))
        wasted = [r.waste for r in runs]
        retries = f"{_mean(w.all_retries for w in wasted)}, {_mean(w.false_retries for w in wasted)}"
        calls = f"{_mean(w.prepares for w in wasted)}, {_mean(w.no_ops for w in wasted)}"
        convoy = max(found.convoy for r in runs for found in r.locks.values())
        passed = max(r.lock("invalidate_lock:w").overtaken for r in runs)
        against = ratio(runs, groups[0], lambda r: r.faults_per_ms)
        lines.append(
            f"| {runs[0].point.label} | {rate:,.0f} | {against:.3f} | {p50:.2f} | {p99:.2f} | {retries} "
            f"| {calls} | {convoy} waiters | {passed} faults |"
        )
    return "\n".join(lines)


def sections(results: dict[Point, Result]) -> tuple[dict[str, str], bytes]:
    """All generated parts, and the picture."""
    shown = results[next(p for p in repeated() if p.patch == "inplace")]
    parts = {
        "storms": storms_table(results),
        "growth": growth_table(results),
        "folios": folio_table(results),
        "seeds": repeated_table(results),
        "perf": f"```\n{perf_report(shown.perf).rstrip()}\n```",
        "lock_stat": f"```\n{lock_stat(shown).rstrip()}\n```",
    }
    return parts, to_image([results[p] for p in growth()], "svg")


def wanted() -> list[Point]:
    return list(dict.fromkeys([*storms(), *growth(), *folios(), *repeated()]))


def run(path: Path, jobs: int) -> None:
    """Run what a state file lacks, and make the results file of it."""
    cells = [Cell(point) for point in wanted()]
    with open_state(path, cells) as state, place(jobs, None) as where:
        for done in share(run_cell, [cell for cell in cells if cell not in state.results], where):
            state.add(done.document())
    RESULTS.write_bytes(zstandard.ZstdCompressor(level=19).compress(path.read_bytes()))


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.run is not None:
        run(given.run, given.jobs)
    text = zstandard.ZstdDecompressor().decompress(RESULTS.read_bytes(), max_output_size=1 << 28)
    found = [done_of(msgspec.json.decode(line)).result for line in text.splitlines()[1:]]
    page = HERE / "contention.md"
    old = new = page.read_text()
    parts, picture = sections({result.point: result for result in found})
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        new, count = pattern.subn(lambda m, part=part: f"{m[1]}\n{part}\n\n{m[2]}", new)  # type: ignore[misc]
        if count != 1:
            print(f"{page}: no place for {name}", file=sys.stderr)
            return 2
    image = HERE / "contention.svg"
    if given.check:
        return int(new != old or image.read_bytes() != picture)
    page.write_text(new)
    image.write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
