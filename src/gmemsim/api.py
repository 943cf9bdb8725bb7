"""The functions that `import gmemsim` offers. Each is a command of the command line, returning what it came to.

Nothing here prints, and nothing is decided here: the work is done in the packages below.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .explore.findings.table import FINDINGS
from .explore.replay import replay
from .patches.registry import load_patch, versions
from .scenarios.catalogue import find
from .testing.checking import check, program

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .actors.kernel import Kernel
    from .audit.base import Event
    from .compare.diff import Diff
    from .explore.campaign import CampaignResult
    from .explore.findings.finding import Finding
    from .explore.program import ScenarioProgram
    from .explore.search import Found
    from .follow.result import FollowResult
    from .oracles.own import Oracle
    from .scenarios.conform.suite import CaseResult
    from .scenarios.scenario import Scenario
    from .scenarios.session import Session
    from .scenarios.summary import Violation

__all__ = [
    "Explored", "Ran", "check", "conform", "diff", "explore", "findings", "follow", "load", "load_patch", "program",
    "replay", "run", "versions",
]  # fmt: skip

#: Virtual time after which a timed run is given up, in ns.
_LIMIT_NS = 10_000_000_000


@attrs.frozen(kw_only=True)
class Ran:
    """One timed run.

    Attributes:
        session: the world as the run left it; `session.summary()` has results, events and locks.
        log: every event with the name of its actor, if it was asked for.
    """

    session: Session
    log: tuple[tuple[str, Event], ...] = ()

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What was found wrong; a deadlock or a limit that was met is here as well."""
        return tuple(self.session.violations)

    def summary(self) -> dict[str, Any]:
        """As `gmemsim run --json`: results a task, events, locks, virtual time in ns."""
        return self.session.summary().as_dict()


@attrs.frozen(kw_only=True)
class Explored:
    """What a search of schedules did and found.

    Attributes:
        program: what was searched.
        result: all of it: schedules, states, bound, classes, lock-order graph, functions that never ran.
        max_steps: the limit of steps within one run.
    """

    program: ScenarioProgram
    result: CampaignResult
    max_steps: int

    @property
    def found(self) -> tuple[Found, ...]:
        """The failures, one of each sort."""
        return self.result.search.found

    @property
    def complete(self) -> bool:
        """Every schedule within the stated bound was covered, and no limit was met; see `SearchResult`."""
        return self.result.search.complete

    def token(self, found: Found) -> str:
        """Replays a failure of this search: for `replay`, and for `gmemsim replay`.

        Raises:
            TokenError: the program has what no token can name.
        """
        from .explore.program import leaving_out
        from .explore.token import encode

        return encode(leaving_out(self.program, found.without), found.tape, max_steps=self.max_steps)


def load(name: str | Path) -> Scenario:
    """A scenario: a name of the library (`gmemsim list scenarios`), or a .toml file.

    Raises:
        ScenarioError: no such scenario, or it is wrong; one line with file and key.
    """
    return find(str(name))


def run(
    scenario: str | Path | Scenario,
    patch: str | type[Kernel] = "v3",
    arch: str | None = None,
    *,
    seed: int = 0,
    log: bool = False,
    oracles: str | type[Oracle] | Iterable[str | type[Oracle]] = (),
    **options: Any,
) -> Ran:
    """One timed run, the oracles looking on.

    Args:
        scenario: a name of the library, a file, or a scenario.
        patch: a version's name, `path/to/file.py:Class`, or the class itself.
        arch: VM type; default: the first that the scenario is for.
        seed: of chunks, times and draws.
        log: keep every event.
        oracles: rules of your own that look on as well (`gmemsim.extend.Oracle`).
        options: `vcpus`, `release`, `costs`, `parameters`, `small`; as `scenarios.session.build`.

    Raises:
        ScenarioError, PatchError: it cannot be run.
    """
    from .oracles import Oracles
    from .oracles.own import adopted
    from .scenarios.options import Options
    from .scenarios.session import build, finish

    own = adopted(oracles)
    entries: list[tuple[str, Event]] = []
    session = build(
        scenario if not isinstance(scenario, str | Path) else load(scenario),
        patch,
        arch,
        seed=seed,
        options=Options(
            rec=(lambda task, event: entries.append((task.name, event))) if log else None,
            checker=lambda world, kernel: Oracles(world, kernel, collect=True, own=own),
            max_virtual_ns=_LIMIT_NS,
        ),
        **options,
    )
    finish(session)
    return Ran(session=session, log=tuple(entries))


def explore(
    scenario: str | Path | Scenario | ScenarioProgram,
    patch: str | type[Kernel] = "v3",
    arch: str | None = None,
    *,
    strategy: str = "auto",
    schedules: int | None = 10_000,
    states: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    max_steps: int = 20_000,
    jobs: int = 1,
    keep_going: bool = False,
    **options: Any,
) -> Explored:
    """Search the schedules of a scenario with all oracles looking on; `check` is the same for a test.

    Args:
        scenario, patch, arch, options: as `program`; or a program, which has them.
        strategy: as on the command line (`auto`, `pct:3`, `dpor`, …).
        schedules, states, seconds: when to stop; None: no limit (of states with `auto`: its own).
        seed: of the strategy.
        max_steps: of one run; more of them are a failure.
        jobs: processes, of a random strategy.
        keep_going: do not stop at the first violation.

    Raises:
        ScenarioError, PatchError: it cannot be run at all.
        ValueError: no such strategy.
    """
    from .explore.campaign import Campaign
    from .explore.past_choices import run_past_choices
    from .explore.program import ScenarioProgram
    from .explore.search import Limits

    what = scenario if isinstance(scenario, ScenarioProgram) else program(scenario, patch, arch, **options)
    limits = Limits(schedules=schedules, seconds=seconds, steps=max_steps, states=states)
    campaign = Campaign(
        program=what, strategy=strategy, seed=seed, limits=limits, jobs=jobs, keep_going=keep_going
    )
    return Explored(program=what, result=run_past_choices(campaign), max_steps=max_steps)


def diff(
    left: str | Path | type[Kernel] | Iterable[tuple[str, Event]],
    right: str | Path | type[Kernel] | Iterable[tuple[str, Event]],
    *,
    scenario: str | Path | Scenario | None = None,
    seeds: int = 20,
    **options: Any,
) -> Diff:
    """Compare two patch versions on a workload, or two logs.

    Args:
        left, right: with `scenario` patch versions; without it logs: files of ours (.jsonl, .jsonl.zst), traces of a
            kernel, or events with the names of their actors, as `run(..., log=True).log` has them.
        scenario: the workload.
        seeds: timed runs of each version.
        options: as `program`, for two versions. `release` is around both; default: the later of their own; `own`:
            each its own.

    Raises:
        ScenarioError, PatchError, LogError, TraceError: a side cannot be run or read.
    """
    from .compare.diff import collector_paused, diff_runs, diff_sets
    from .compare.runs import Steps

    if scenario is None:
        steps = Steps()
        with collector_paused():
            return diff_runs(steps, *(steps.run(_events(side)) for side in (left, right)))
    from .compare.collect import collect_seeds, common_release
    from .scenarios.session import finish

    classes: list[type[Kernel]] = []
    for side in (left, right):
        if isinstance(side, str):
            classes.append(load_patch(side))
        elif isinstance(side, type):
            classes.append(side)
        else:
            raise TypeError(f"with a scenario both sides are patch versions, not {type(side).__name__}")
    options = {"small": False} | options
    options["release"] = common_release(options.get("release"), classes)
    sides = [
        collect_seeds(program(scenario, cls, **options), range(seeds), finish, lambda number: None)
        for cls in classes
    ]
    return diff_sets(
        sides[0].runs,
        sides[1].runs,
        sides[0].names,
        (sides[0].first, sides[1].first),
        (classes[0], classes[1]),
    )


def _events(side: Any) -> Iterable[tuple[str, Event]]:
    if not isinstance(side, str | Path):
        return side  # type: ignore[no-any-return] # what `diff` takes besides files
    path = Path(side)
    if path.name.endswith((".jsonl", ".jsonl.zst")):
        from .audit.reader import read_log

        return ((record.actor, record.event) for record in read_log(path))
    from .follow.as_events import events_of
    from .follow.trace import load_trace

    return events_of(load_trace(path))


def follow(
    trace: str | Path,
    patch: str | type[Kernel] | None = None,
    *,
    release: str | None = None,
    metadata: str | Path | None = None,
) -> FollowResult:
    """Is a kernel trace (ftrace text, plain or gzip) a run of a patch version?

    Args:
        patch: default: the version of the recording's kernel by its metadata, else v3.
        release: around the patch; default: as the metadata of the trace says.
        metadata: JSON that lists the probes; default: the file beside the trace, else inferred.

    Raises:
        TraceError: the trace cannot be read, or nobody has looked which version its kernel has: give `patch`.
        PatchError: no such version.
    """
    from .follow.follower import follow as follow_trace
    from .follow.follower import stock_version_of
    from .follow.trace import load_trace

    found = load_trace(Path(trace), None if metadata is None else Path(metadata))
    patch = patch or stock_version_of(found, release)
    kernel = load_patch(patch) if isinstance(patch, str) else patch
    return follow_trace(found, kernel, release)


def conform(
    *patches: str | type[Kernel],
    vectors: str | Path | None = None,
    arches: Sequence[str] | None = None,
    release: str | None = None,
    schedules: int = 5,
    seed: int = 0,
) -> list[CaseResult]:
    """Run conformance vectors; one result for each vector, version and VM type that it applies to.

    Args:
        patches: versions; default: v3.
        vectors: a file; default: those of the kernel's selftests.
        arches: VM types; default: all.
        release: around the patch; default: each version's own.
        schedules: of a vector with parallel steps, drawn if there are more than 200 times as many states.

    Raises:
        VectorError: the file is wrong.
        PatchError: no such version.
    """
    from .actors.release import RELEASES
    from .explore.strategies.complete_first import CompleteFirst
    from .scenarios.conform import load_vectors
    from .scenarios.conform.suite import EMBEDDED, STATES, cases, judge

    kernels = [load_patch(patch) if isinstance(patch, str) else patch for patch in patches or ("v3",)]
    found = load_vectors(*([Path(vectors)] if vectors else EMBEDDED))
    search = partial(CompleteFirst, seed, STATES * schedules)
    wanted = cases(found, kernels, arches, None if release is None else RELEASES[release])
    return [judge(case, schedules=schedules, seed=seed, search=search) for case in wanted]


def findings() -> dict[str, Finding]:
    """What is known to go wrong, by name: where, in which versions, and whether a kernel was seen doing it."""
    return dict(FINDINGS)
