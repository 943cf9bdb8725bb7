"""The main job on the recordings that the package carries: the model before and after the series, beside two
kernels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..audit.kvm_events import PopulateCallback, PopulateRet
from ..patches.registry import PATCHES
from ..scenarios.catalogue import load_named
from ..scenarios.options import Options
from ..scenarios.session import build
from .as_events import events_of
from .follower import follow
from .laws import tally
from .trace import load_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..audit.base import Event
    from ..engine.task import Task
    from .laws import Tally
    from .result import FollowResult

RECORDED = Path(__file__).parents[1] / "scenarios" / "recorded"


@attrs.frozen
class Workload:
    """A recorded workload: the recording's name, the scenario that reproduces it, and its parameters."""

    recording: str
    scenario: str
    vcpus: int
    text: str


WORKLOADS = (
    Workload("sh_same_v2", "same", 2, "2 vCPUs touch the same 64 pages"),
    Workload("sh_prefault_v4", "prefault", 4, "4 vCPUs pre-fault the same 64 pages"),
    Workload("sh_punch1_v1", "punch", 1, "1 vCPU loops over 32 pages, a thread punches them"),
    Workload("sh_mmap_h1_v2", "mmap_h1", 2, "2 vCPUs and 1 host thread touch 64 pages"),
)

#: Patch version and the kernel release whose recording stands beside it.
SIDES = (("baseline", "6.18.15"), ("v3", "7.2.13"))


@attrs.frozen
class Row:
    """One workload on one side: the model's tally, the kernel's, and whether the kernel was a run of the model."""

    workload: Workload
    patch: str
    release: str
    model: Tally
    kernel: Tally
    followed: FollowResult


@attrs.frozen
class DemoReport:
    """Everything that `gmemsim demo` shows.

    Attributes:
        rows: each workload before and after.
        order: per patch, what is done to a fresh page at its first fault.
        populate: per patch, what a second population of the same page came to and who refused it.
    """

    rows: tuple[Row, ...]
    order: tuple[tuple[str, tuple[str, ...]], ...]
    populate: tuple[tuple[str, str], ...]


def run_demo(progress: Callable[[str], None] = lambda text: None) -> DemoReport:
    """Run and follow everything; `progress` hears what is being done."""
    rows = []
    for workload in WORKLOADS:
        for patch, release in SIDES:
            progress(f"{workload.scenario} on {patch} and Linux {release}")
            log = _run(workload.scenario, patch, vcpus=workload.vcpus)
            trace = load_trace(RECORDED / release / f"{workload.recording}.trace.gz")
            followed = follow(trace, PATCHES[patch])
            rows.append(Row(workload, patch, release, tally(log), tally(events_of(trace)), followed))
    progress("first fault, before and after")
    return DemoReport(tuple(rows), tuple(_order()), tuple(_populate()))


def _run(scenario: str, patch: str, arch: str = "default", **parameters: Any) -> list[tuple[str, Event]]:
    log: list[tuple[str, Event]] = []

    def record(task: Task, event: Event) -> None:
        if task.name != "setup":
            log.append((task.name, event))

    build(load_named(scenario), patch, arch, parameters=parameters, options=Options(rec=record)).run()
    return log


def _order() -> Iterator[tuple[str, tuple[str, ...]]]:
    """What happens to a fresh page at its first fault, in order."""
    for patch, _ in SIDES:
        log = _run("same", patch, vcpus=1)
        names = [str(event.__struct_config__.tag) for _, event in log]
        yield patch, tuple(name for name in names if name in ("clear", "set_uptodate", "prepare"))[:3]


def _populate() -> Iterator[tuple[str, str]]:
    """Who refuses to populate a page twice, on SNP."""
    for patch, _ in SIDES:
        log = _run("populate_twice", patch, "snp", pages=1)
        asked = [event for _, event in log if isinstance(event, PopulateCallback)]
        results = [event.ret for _, event in log if isinstance(event, PopulateRet)]
        second = results[1] if len(results) > 1 else 0
        who = "guest_memfd: folio uptodate" if len(asked) < 2 else "the SNP callback: RMP entry assigned"
        yield patch, f"{'EEXIST' if second == -17 else second} from {who}"
