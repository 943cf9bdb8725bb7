"""The three things that `gmemsim demo` begins with: a deadlock, a patch that is wrong, what a lock costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..patches.v3 import V3

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from ..actors.folio import Folio
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.task import Task

_VCPUS = (1, 16, 64)


class ClearTwice(V3):
    """Wrong on purpose: a folio is cleared again each time it is made ready."""

    name = "ClearTwice"

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        await self.kvm_gmem_clear_folio(t, inode, folio, 1)
        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)


def first_look(out: Console, say: Callable[[str], object]) -> None:
    """Search, search, measure; each answer is printed when it is there.

    Args:
        say: told what is done.
    """
    from ..explore.findings.table import known

    say("1 of 3: a deadlock")
    out.print(
        "[bold]1. A deadlock that released kernels have[/]\n  gmemsim explore zoo-poison_punch --patch v3"
    )
    found = _first("zoo-poison_punch", "v3")
    out.print(f"  {found.summary}", highlight=False)
    finding = known(found)
    if finding is not None:
        out.print(f"  known: {finding.ident}, {finding.state}", highlight=False)
    say("2 of 3: a patch that is wrong")
    out.print("\n[bold]2. Is my patch right?[/]\n  gmemsim explore punch --patch mine.py:ClearTwice")
    wrong = _first("punch", ClearTwice)
    out.print(f"  {wrong.rule}: {wrong.summary}", highlight=False)
    say("3 of 3: what a lock costs")
    out.print(
        "\n[bold]3. What does the lock cost?[/]\n  gmemsim bench contention --patch v3,inplace --arch tdx"
    )
    for line in _costs():
        out.print(f"  {line}", highlight=False)
    out.print()


def _first(scenario: str, patch: str | type[V3]) -> Any:
    from .. import api

    explored = api.explore(scenario, patch)
    if explored.result.search.stopped == "interrupted":
        raise KeyboardInterrupt
    return explored.found[0].failure


def _costs() -> list[str]:
    from ..contention.point import Point
    from ..contention.sweep import points, run_all

    wanted = points(
        patches=("v3", "inplace"),
        arches=("tdx",),
        storms=("refault",),
        backgrounds=("none",),
        vcpus=_VCPUS,
        common=Point(pages=512),
    )
    rates = {(done.point.patch, done.point.vcpus): done.faults_per_ms for done in run_all(wanted)}
    lines = ["re-faults a virtual ms on TDX: with the invalidate lock shared / without"]
    for vcpus in _VCPUS:
        with_lock, without = rates["inplace", vcpus], rates["v3", vcpus]
        lines.append(f"vCPUs {vcpus:>3} {with_lock:>8,.0f} / {without:>8,.0f}   {with_lock / without:.2f}")
    return lines
