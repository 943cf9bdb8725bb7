"""Runs of one version, by seed or by class of schedules, each taken apart into its behaviours."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..actors.release import RELEASES
from ..explore.program import ScenarioRun
from ..explore.search import Limits, search, watch_events
from ..explore.strategies import make_strategy
from ..explore.token import encode
from ..scenarios.options import Options
from ..scenarios.session import build
from .behaviour import Behaviours, add_outcomes, behaviours
from .runs import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..actors.kernel import Kernel
    from ..audit.base import Event
    from ..engine.tape import Tape
    from ..explore.failure import Failure
    from ..explore.program import ScenarioProgram
    from ..explore.runs import Run
    from ..scenarios.session import Session


class Collected:
    """One side's runs.

    Attributes:
        runs: what each run did.
        names: of the runs, such as `seed 3` or a replay token.
        first: the log of the first run.
        summary: of the first run, where it was timed.
        outcomes: to what the operations of all timed runs came, and how often: `touch: ok`.
        complete: with classes, whether they are all within the bound.
        stopped: why the collection ended before its number of runs, or empty.
    """

    def __init__(self) -> None:
        self.runs: list[Behaviours] = []
        self.names: list[str] = []
        self.first: list[tuple[str, Event]] = []
        self.summary: dict[str, Any] = {}
        self.outcomes: Counter[str] = Counter()
        self.complete = False
        self.stopped = ""

    def add_seed(self, program: ScenarioProgram, seed: int, run: Callable[[Session], None]) -> None:
        """One more timed run; arguments as of `collect_seeds`. All of it is added, or nothing."""
        log: list[tuple[str, Event]] = []

        def record(task: Any, event: Event) -> None:
            if task.name != "setup":
                log.append((task.name, event))

        session = build(
            program.scenario,
            program.patch,
            program.arch,
            vcpus=program.vcpus,
            seed=seed,
            release=program.release,
            parameters=program.parameters,
            small=program.small,
            options=Options(rec=record, max_virtual_ns=10**10),
        )
        run(session)
        shown = _behaviours(log, session)
        summary = session.summary().as_dict()
        self.runs.append(shown)
        self.names.append(f"seed {seed}")
        for task in summary["results"].values():
            for operation, outcomes in task["outcomes"].items():
                for outcome, often in outcomes.items():
                    self.outcomes[f"{operation}: {outcome}"] += often
        if not self.first:
            self.first = log
            self.summary = summary


def common_release(asked: str | None, versions: Sequence[type[Kernel]]) -> str | None:
    """One release for all sides: the one asked for, or the latest of their own; None (for `own`): each its own."""
    if asked is not None:
        return None if asked == "own" else asked
    order = list(RELEASES)
    return max((str(version.default_release) for version in versions), key=order.index)


def collect_seeds(
    program: ScenarioProgram,
    seeds: Sequence[int],
    run: Callable[[Session], None],
    progress: Callable[[int], None],
) -> Collected:
    """Timed runs, one a seed.

    Args:
        run: runs a session to its end; an error of the engine is part of what the run did.
    """
    found = Collected()
    for number, seed in enumerate(seeds):
        progress(number)
        found.add_seed(program, seed, run)
    return found


def collect_classes(
    program: ScenarioProgram, schedules: int, seconds: float | None, progress: Callable[[int], None]
) -> Collected:
    """One run for each class of equivalent schedules, in the order of partial-order reduction.

    Args:
        schedules, seconds: stop after so many.
    """
    watcher = _Watcher(program, progress)
    strategy = make_strategy("dpor", program.seed)
    result = search(
        program, strategy, Limits(schedules=schedules, seconds=seconds), observers=(watcher,), keep_going=True
    )
    watcher.found.complete = result.complete
    watcher.found.stopped = "" if result.complete else result.stopped
    watcher.found.names = [encode(program, tape) for tape in watcher.tapes]
    return watcher.found


def _behaviours(log: list[tuple[str, Event]], session: Session) -> Behaviours:
    steps = Steps()
    found = behaviours(steps, steps.run(log))
    for task in session.results.values():
        add_outcomes(found, task.operations)
    return found


class _Watcher:
    """An observer that takes every run apart."""

    def __init__(self, program: ScenarioProgram, progress: Callable[[int], None]) -> None:
        self.found = Collected()
        self.tapes: list[Tape] = []
        self._program = program
        self._progress = progress
        self._log: list[tuple[str, Event]] = []

    def attach(self, run: Run) -> None:
        log: list[tuple[str, Event]] = []
        self._log = log
        self._progress(len(self.tapes))
        watch_events(run.engine, lambda task, event: log.append((task.name, event)))

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        if pruned:
            return
        assert isinstance(run, ScenarioRun)
        self.found.runs.append(_behaviours(self._log, run.session))
        self.tapes.append(run.engine.tape)
        if not self.found.first:
            self.found.first = self._log
