"""Write the tables of docs/costs.md (between its markers) from the cost files and from storms on every machine.

python docs/generate_costs.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import attrs

from gmemsim.arch.cost_file import PLATFORMS, load_costs
from gmemsim.arch.costs import CostTable
from gmemsim.arch.platform_costs import CHARGED, NEVER_CHARGED, PlatformCosts
from gmemsim.contention.point import Point
from gmemsim.contention.result import Result
from gmemsim.contention.storm import run

PAGE = Path(__file__).parent / "costs.md"
MACHINES = ("generic", *PLATFORMS)
VCPUS = (1, 16, 64)


def entries() -> str:
    """What the full table has beside the generic one."""
    lines = ["| cost | ns | range | trust | source |", "|---|--:|--:|---|---|"]
    for name in PlatformCosts.names():
        if name not in CostTable.names():
            why, value = PlatformCosts.evidence(name), getattr(PlatformCosts(), name)
            lines.append(
                f"| `{name}` | {value:,} | {why.low:,} to {why.high:,} | {why.confidence} | {why.source} |"
            )
    return "\n".join(lines)


def machines() -> str:
    """Where the machines differ."""
    lines = ["| machine | cost | ns | range | trust | source |", "|---|---|--:|--:|---|---|"]
    for name in PLATFORMS:
        costs = load_costs(name)
        for entry, why in costs.evidence.items():
            value = costs.changes[entry]
            lines.append(
                f"| {name} | `{entry}` | {value:,} | {why.low:,} to {why.high:,} | {why.confidence} | {why.source} |"
            )
    return "\n".join(lines)


def charged() -> str:
    """The list that `bench contention` prints."""
    lines = [
        "Charged by full tables only:",
        "",
        *(f"* {text}" for text in CHARGED),
        "",
        "Charged by none:",
        "",
    ]
    return "\n".join([*lines, *(f"* {text}" for text in NEVER_CHARGED)])


def cell(result: Result) -> str:
    most = result.bottleneck
    return f"{result.faults_per_ms:,.0f} ({most.name or 'nothing'} {most.share:.0%})"


def storms() -> str:
    """Re-faults and first touches, by machine."""
    lines = [
        f"| storm | version | machine | sockets | {' | '.join(f'{n} vCPUs' for n in VCPUS)} |",
        f"|---|---|---|--:|{'---|' * len(VCPUS)}",
    ]
    for storm, patch in (
        ("first-touch", "v3"),
        ("first-touch", "inplace"),
        ("refault", "v3"),
        ("refault", "inplace"),
    ):
        for machine in MACHINES:
            for sockets in (1, 2) if machine != "generic" else (1,):
                point = Point(
                    patch, "sw-protected", storm, pages=1024, costs=machine, sockets=sockets, release="7.2"
                )
                found = [run(attrs.evolve(point, vcpus=n)) for n in VCPUS]
                cells = " | ".join(map(cell, found))
                lines.append(f"| {storm} | {patch} | {machine} | {sockets} | {cells} |")
    return "\n".join(lines)


def grains() -> str:
    """One semaphore at both grains."""
    lines = [
        "| costs | vCPUs | rwsem, faults/ms | rwsem-fine | p99 | p99 |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for costs in ("generic", "milan"):
        for vcpus in (4, 16, 64):
            one, two = (
                run(Point("tracked", "snp", "first-touch", "none", vcpus, 256, policy=policy, costs=costs))
                for policy in ("rwsem", "rwsem-fine")
            )
            lines.append(
                f"| {costs} | {vcpus} | {one.faults_per_ms:,.1f} | {two.faults_per_ms:,.1f} "
                f"| {one.p99:,} ns | {two.p99:,} ns |"
            )
    return "\n".join(lines)


def main() -> int:
    """Write."""
    text = PAGE.read_text(encoding="utf-8")
    for make in (charged, entries, machines, storms, grains):
        pattern = re.compile(rf"(<!-- figures: {make.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
        made = make()
        text, count = pattern.subn(lambda m, made=made: f"{m[1]}\n{made}\n\n{m[2]}", text)  # type: ignore[misc]
        if count != 1:
            print(f"{PAGE}: no place for {make.__name__}", file=sys.stderr)
            return 2
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
