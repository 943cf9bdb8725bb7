"""One search of a scenario that shows a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from gmemsim.actors.kernel import Kernel
    from gmemsim.explore.findings.finding import Shown
    from gmemsim.explore.search import Found

__all__ = ["search_for"]


def search_for(
    shown: Shown, patch: str | type[Kernel], release: str | None = None, *, schedules: int | None = None
) -> tuple[Found, ...]:
    """What the search finds first, if anything."""
    program = ScenarioProgram(
        scenario=load_named(shown.scenario), patch=patch, arch=shown.vm_type, release=release
    )
    limits = Limits(schedules=schedules or shown.schedules)
    return search(program, make_strategy(shown.strategy, 0), limits, judge=judge).found
