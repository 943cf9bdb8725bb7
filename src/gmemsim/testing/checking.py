"""Search the schedules of a scenario from a test, and fail with all that is needed to see it again."""

from __future__ import annotations

import warnings
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..explore.campaign import Campaign
from ..explore.classes import Coverage
from ..explore.findings.table import known
from ..explore.judges.livelock import judge
from ..explore.measure import attempt
from ..explore.past_choices import in_words, run_past_choices
from ..explore.program import ScenarioProgram, leaving_out, watched
from ..explore.scope import nothing_ran
from ..explore.search import Found, Limits
from ..explore.shrink import shrink
from ..explore.shrink_calls import calls
from ..explore.strategies import AUTO
from ..explore.token import encode
from ..explore.token_names import TokenError, replay_options
from ..nearest import hint
from ..oracles.every_rule import left_out
from ..patches.entered import never_ran, without_faults
from ..scenarios.catalogue import find
from ..scenarios.scenario import Scenario
from .single_runs import NeverRan, note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..actors.kernel import Kernel
    from ..engine.strategy import Strategy
    from ..explore.search import SearchResult

__all__ = ["Checked", "NeverRan", "ScheduleFailure", "check", "describe", "program", "run_once"]

#: Runs to make a failure small in a test; a search by hand takes more.
_ATTEMPTS = 600


class ScheduleFailure(AssertionError):
    """A schedule went wrong; the text says how, and how to see it again.

    Attributes:
        found: the failing run, as it was found.
    """

    def __init__(self, what: ScenarioProgram, found: Found, max_steps: int, text: Callable[[], str]) -> None:
        super().__init__(found.failure.summary)
        self.found = found
        self._what = what
        self._max_steps = max_steps
        self._text = text

    @cached_property
    def token(self) -> str:
        """Replays the run; made when asked for, because Hypothesis drops most of its failures unread."""
        return _token(self._what, self.found, self._max_steps)

    @cached_property
    def text(self) -> str:
        """What `str` gives."""
        return self._text()

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class Checked:
    """What a search that found nothing has done.

    Attributes:
        search: schedules, whether all within the strategy's bound were covered, …
        coverage: distinct classes of equivalent schedules, and how many there may be.
        never_ran: functions of a patch of your own that no run entered; a warning says so as well.
    """

    search: SearchResult
    coverage: Coverage
    never_ran: tuple[str, ...] = ()


#: Keywords of `program`, and of what runs one.
_OPTIONS: Final = tuple(
    field.name for field in attrs.fields(ScenarioProgram) if field.name not in ("scenario", "patch", "arch")
)


def program(
    scenario: str | Path | Scenario, patch: str | type[Kernel] = "v3", arch: str | None = None, **options: Any
) -> ScenarioProgram:
    """What is to be run.

    Args:
        scenario: a name of the library, a file, or a scenario.
        patch: a version's name, `path/to/file.py:Class`, or the class itself.
        arch: VM type; default: the first that the scenario is for.
        options: `vcpus`, `seed`, `release`, `parameters`, `small` (default True), `policy`, `rules`, `until_rounds`,
            `without` (rules that nobody looks after: `"I33,I36"`, or a set), `oracles` (rules of your own,
            `gmemsim.extend.Oracle`: a list of classes).

    Raises:
        ScenarioError: no such scenario, or it is wrong.
        TypeError: no such option.
    """
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(
                f"no option {name!r}; {hint(name, (*_OPTIONS, 'strategy', 'schedules', 'seconds', 'states'))}"
            )
    found = scenario if isinstance(scenario, Scenario) else find(str(scenario))
    return ScenarioProgram(scenario=found, patch=patch, arch=arch, **options)


def _program(
    what: str | Path | Scenario | ScenarioProgram,
    patch: str | type[Kernel],
    arch: str | None,
    options: dict[str, Any],
) -> ScenarioProgram:
    """Of a program that there is already, rules are left out all the same."""
    if isinstance(what, ScenarioProgram):
        return leaving_out(what, left_out(options.get("without", ())))
    return program(what, patch, arch, **options)


def check(
    scenario: str | Path | Scenario | ScenarioProgram,
    patch: str | type[Kernel] = "v3",
    arch: str | None = None,
    *,
    strategy: str = AUTO,
    schedules: int | None = 1_000,
    states: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    max_steps: int = 20_000,
    **options: Any,
) -> Checked:
    """Run many schedules of a scenario with all oracles looking on.

    Args:
        scenario, patch, arch, options: as `program`; or a program, which has them.
        strategy: as on the command line (`auto`, `pct:3`, `dpor`, …).
        schedules, seconds: when to stop; None: no limit.
        states: with `auto`, how many are looked at before schedules are sampled (None: twice as many as `schedules`,
            which takes about as long); with `stateful`, a limit.
        seed: of the strategy.
        max_steps: of one run; more of them are a failure.

    Raises:
        ScheduleFailure: something is wrong under some schedule.
        ScenarioError, PatchError: it cannot be run at all.
        ValueError: no such strategy, or no run within the budget.
    """
    what = _program(scenario, patch, arch, options)
    if states is None and strategy == AUTO and schedules is not None:
        states = 2 * schedules
    limits = Limits(schedules=schedules, seconds=seconds, steps=max_steps, states=states)
    done = run_past_choices(Campaign(program=what, strategy=strategy, seed=seed, limits=limits))
    if done.search.stopped == "interrupted":
        raise KeyboardInterrupt
    for found in done.search.found:
        head = f"{found.failure.summary}\n{_known(found)}schedule {found.schedule}, strategy {strategy}, seed {seed}\n"
        head += "".join(f"{line}\n" for line in in_words(done.search))
        at = leaving_out(what, found.without)
        raise ScheduleFailure(at, found, max_steps, partial(_searched, head, at, found, max_steps))
    if nothing_ran(done.search):
        raise ValueError(
            f"no schedule was run (schedules={schedules}, seconds={seconds}): nothing was looked at"
        )
    if text := never_ran(without_faults(done.never_ran), f"{done.search.schedules:,} runs"):
        warnings.warn(text, NeverRan, stacklevel=2)
    return Checked(done.search, done.coverage or Coverage(0, 0, 0, 0), done.never_ran)


def run_once(
    scenario: str | Path | Scenario | ScenarioProgram,
    patch: str | type[Kernel] = "v3",
    arch: str | None = None,
    *,
    schedule: Strategy,
    max_steps: int = 20_000,
    **options: Any,
) -> None:
    """Run one schedule with all oracles looking on; for Hypothesis, which makes and shrinks it.

    Of a patch of your own, the pytest plugin says which functions ran in no call of the test (`NeverRan`).

    Raises:
        ScheduleFailure: something is wrong.
        PatchError: the run changed what the next one does not begin anew.
    """
    what = _program(scenario, patch, arch, options)
    with watched(what) as entered:
        done = attempt(what, schedule, max_steps=max_steps)
    # Hypothesis makes many runs, each by a call of this.
    entered.refuse_state()
    note(what.patch, entered)
    failure = done.failure and judge(what, done.failure, done.tape, done.measure.steps)
    if failure is None:
        # Fine, or without an end only because the schedule is unfair.
        return
    found = Found(failure, done.tape, 1, done.measure.steps)
    size = f"{done.measure.preemptions} preemptions, {done.measure.steps} steps"
    raise ScheduleFailure(what, found, max_steps, partial(_drawn, size, what, found, max_steps))


def _searched(head: str, what: ScenarioProgram, found: Found, max_steps: int) -> str:
    return head + describe(what, found, max_steps)


def _known(found: Found) -> str:
    """A line that names the known finding that it is, if it is one."""
    finding = known(found.failure)
    return "" if finding is None else f"known finding: {finding.ident} ({finding.state})\n"


def _drawn(size: str, what: ScenarioProgram, found: Found, max_steps: int) -> str:
    failure = f"{found.failure.rule}: {found.failure.summary}"
    replay = _replay(what, found, max_steps)
    return _known(found) + "\n".join((failure, size, *calls(what), replay, describe(what, found, max_steps)))


def _replay(what: ScenarioProgram, found: Found, max_steps: int) -> str:
    return f"gmemsim replay {_token(what, found, max_steps)}{replay_options(what)}"


def _token(what: ScenarioProgram, found: Found, max_steps: int) -> str:
    try:
        return encode(what, found.tape, max_steps=max_steps)
    except TokenError as error:
        return f"(no token: {error})"


def describe(what: ScenarioProgram, found: Found, max_steps: int) -> str:
    """The failure made small, as calls, and its token. A livelock stays as it is: fair turns judged this run."""
    if found.failure.rule == "livelock":
        return "\n".join((*(f"  {line}" for line in calls(what)), _replay(what, found, max_steps)))
    small = shrink(what, found, attempts=_ATTEMPTS, max_steps=max_steps)
    assert isinstance(small.program, ScenarioProgram)
    before, after = small.before, small.after
    lines = [
        f"shrunk: {small.operations_before} calls -> {small.operations_after}, {before.preemptions} preemptions -> "
        f"{after.preemptions}, {before.steps} steps -> {after.steps} ({small.attempts} runs)",
        *(f"  {line}" for line in calls(small.program)),
        f"{small.found.failure.rule}: {small.found.failure.summary}",
        _replay(small.program, small.found, max_steps),
    ]
    return "\n".join(lines)
