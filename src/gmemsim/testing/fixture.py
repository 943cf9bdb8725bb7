"""The fixture `gmem_schedule`: one test function, called once per schedule."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from inspect import iscoroutinefunction
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ..engine.errors import EngineError, Pruned, TapeMismatch
from ..engine.strategy import ReplayStrategy
from ..explore.classes import ClassCounter
from ..explore.measure import attempt
from ..explore.program import leaving_out, watched
from ..explore.search import FindsTraps, Found, Limits, State, look_for_traps
from ..explore.strategies import AUTO, make_strategy
from ..explore.strategies.complete_first import CompleteFirst
from ..explore.token import decode, encode
from ..explore.token_names import TokenError
from ..oracles.every_rule import UnknownRule, left_out
from ..patches.entered import never_ran, without_faults
from ..patches.user_file import PatchError
from .checking import Checked, NeverRan, check, describe, program

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from ..explore.program import ScenarioProgram, ScenarioRun
    from ..patches.entered import Entered
    from ..scenarios.scenario import Scenario
    from ..scenarios.session import Session

__all__ = ["Budget", "Schedules", "check_for_item", "from_item"]

_MARKER = {"schedules": 200, "strategy": AUTO, "seconds": None, "seed": 0}


class _NothingLeft(EngineError):
    """The strategy has no schedule left: the test is over, in the middle of its body."""


@attrs.frozen(kw_only=True)
class Budget:
    """How often, and chosen by whom; as in the marker."""

    schedules: int
    strategy: str
    seconds: float | None
    seed: int
    replay: str | None = None
    without: frozenset[str] = frozenset()
    #: What the command line says of the first four.
    asked: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, item: pytest.Item) -> Budget:
        """From marker and command line, which goes first."""
        marker = item.get_closest_marker("gmemsim")
        values = dict(_MARKER)
        if marker is not None:
            unknown = sorted(set(marker.kwargs) - set(_MARKER))
            if marker.args or unknown:
                what = unknown[0] if unknown else repr(marker.args[0])
                raise pytest.UsageError(
                    f"{item.nodeid}: the marker gmemsim takes {', '.join(f'{key}=…' for key in _MARKER)}, not {what}"
                )
            values |= marker.kwargs
        given = {key: item.config.getoption(f"--gmemsim-{key}") for key in ("schedules", "seconds", "seed")}
        asked = {key: value for key, value in given.items() if value is not None}
        values |= asked
        replay = item.config.getoption("--gmemsim-replay")
        try:
            without = left_out(item.config.getoption("--gmemsim-without") or ())
        except UnknownRule as error:
            raise pytest.UsageError(f"--gmemsim-without: {error}") from None
        return cls(**values, replay=replay, without=without, asked=asked)  # type: ignore[arg-type] # as the marker has them


class Schedules:
    """The schedules of one test.

    Attributes:
        number: of the present one, from 1.
        seed: of the strategy.
    """

    def __init__(self, item: pytest.Item) -> None:
        self.budget = budget = Budget.of(item)
        self.number = 0
        self.seed = budget.seed
        self._item = item
        self._pruned = 0
        self._complete = False
        self._counter = ClassCounter()
        self._program: ScenarioProgram | None = None
        self._run: ScenarioRun | None = None
        self._max_steps = 0
        self._entered: Entered | None = None
        self._watching = ExitStack()
        if budget.replay is None:
            try:
                self._strategy: Any = (
                    CompleteFirst(budget.seed, 2 * budget.schedules)
                    if budget.strategy == AUTO
                    else make_strategy(budget.strategy, budget.seed)
                )
            except ValueError as error:
                raise pytest.UsageError(f"{item.nodeid}: {error}") from None
        else:
            try:
                self._strategy = ReplayStrategy(decode(budget.replay).tape)
            except TokenError as error:
                raise pytest.UsageError(f"--gmemsim-replay: {error}") from None

    def build(
        self,
        scenario: str | Path | Scenario,
        patch: str | type[Kernel] = "v3",
        arch: str | None = None,
        *,
        max_steps: int = 20_000,
        **options: Any,
    ) -> Session:
        """A session under the present schedule, all oracles looking on; run it with `run()` or `await run_async()`.

        Args: as `gmemsim.testing.program`.

        Raises:
            ScenarioError, PatchError: it cannot be run.
            RuntimeError: a test has one session.
        """
        if self._run is not None:
            raise RuntimeError("gmem_schedule.build: one session a test, for the schedule is the session's")
        self._program = what = leaving_out(program(scenario, patch, arch, **options), self.budget.without)
        self._max_steps = max_steps
        if self._entered is None:
            self._entered = self._watching.enter_context(watched(what))
        run = what.build(self._strategy, max_steps=max_steps)
        if not self._strategy.begin(run.engine):
            raise _NothingLeft
        self._run = run
        self._counter.attach(run)
        return run.session

    # -- called by the plugin --------------------------------------------------------------------

    def repeating(self, test: Callable[..., object], funcargs: Mapping[str, Any]) -> Callable[..., object]:
        """The test as a function that calls it once per schedule."""
        if iscoroutinefunction(test):
            # Nobody runs it; pytest says what to do about that.
            return test
        once = [name for name, value in funcargs.items() if type(value).__name__ == "TrioFixture"]
        if once:
            pytest.fail(
                f"gmem_schedule runs the test many times, the async fixture {once[0]} can be set up once: "
                "make it an async context manager in the test",
                pytrace=False,
            )

        def repeated(**arguments: object) -> None:
            __tracebackhide__ = True
            began = monotonic()
            budget = self.budget
            last = 1 if budget.replay else budget.schedules
            # Those of a search of states do not count: it has a limit of its own.
            with self._watching:
                while getattr(self._strategy, "sampled", self.number) < last:
                    if self.number and budget.seconds is not None and monotonic() - began >= budget.seconds:
                        break
                    if not self._once(test, arguments):
                        break
                self._look_for_loops(began)
            self._look_back()

        return repeated

    def _look_back(self) -> None:
        """Whether anything was run, and what of a patch of the test's own."""
        if not self.number:
            pytest.fail(f"no schedule was run (schedules={self.budget.schedules})", pytrace=False)
        if self._entered is None:
            return
        kept = ""
        try:
            self._entered.refuse_state()
        except PatchError as error:
            kept = str(error)
        if kept:
            pytest.fail(kept, pytrace=False)
        if text := never_ran(without_faults(self._entered.never), f"{self.number:,} runs"):
            warnings.warn(text, NeverRan, stacklevel=1)

    def _once(self, test: Callable[..., object], arguments: dict[str, object]) -> bool:
        """One schedule; whether there may be another."""
        __tracebackhide__ = True
        self.number += 1
        self._run = None
        try:
            test(**arguments)
            self._look()
        except BaseException as error:
            if _carries(error, _NothingLeft):
                self.number -= 1
                self._complete = bool(getattr(self._strategy, "complete", False))
                return False
            if _carries(error, Pruned):
                self._pruned += 1
                return True
            if isinstance(error, (Exception, pytest.fail.Exception)):
                self._count()
                self._report(error)
            raise
        self._count()
        return True

    def _look_for_loops(self, began: float) -> None:
        """A search of states cuts a run that comes round to a known state: whether anybody can leave it shows here."""
        what, strategy = self._program, self._strategy
        if what is None or not isinstance(strategy, FindsTraps):
            return
        state = State(began=began)
        limits = Limits(schedules=None, seconds=self.budget.seconds, steps=self._max_steps)
        looked = look_for_traps(what, strategy, state, limits, False)
        self._complete = self._complete and looked and not state.step_limits
        for found in state.found.values():
            self._item.add_report_section("call", "gmemsim", describe(what, found, self._max_steps))
            pytest.fail(found.failure.summary, pytrace=False)

    def _count(self) -> None:
        if self._run is not None:
            self._counter.done(self._run, None, pruned=False)

    def _look(self) -> None:
        """What the test did not see: operations that came to what they should not."""
        run = self._run
        if run is None:
            pytest.fail("the test has not called gmem_schedule.build", pytrace=False)
        if not run.session.tasks:
            pytest.fail(
                "the test has not run the session of gmem_schedule.build (session.run(), or await session.run_async())",
                pytrace=False,
            )
        failure = run.found()
        if failure is not None:
            pytest.fail(f"{failure.rule}: {failure.summary}", pytrace=False)

    def _report(self, error: BaseException) -> None:
        what, run = self._program, self._run
        if what is None or run is None:
            return
        budget = self.budget
        lines = [f"schedule {self.number}, strategy {budget.strategy}, seed {budget.seed}"]
        if budget.replay is not None:
            lines = ["the schedule of --gmemsim-replay"]
        if _carries(error, TapeMismatch):
            lines.append("the token is of another run than this test makes, or the model has changed since")
        else:
            try:
                token = encode(what, run.engine.tape, max_steps=self._max_steps)
                lines.append(f"to run it again: pytest '{self._item.nodeid}' --gmemsim-replay {token}")
                lines += self._small(what, run)
            except (TokenError, TapeMismatch) as trouble:
                lines.append(f"no replay token: {trouble}")
        self._item.add_report_section("call", "gmemsim", "\n".join(lines))

    def _small(self, what: ScenarioProgram, run: ScenarioRun) -> list[str]:
        """If the failure is the model's, not only this test's: the smallest workload that shows it."""
        alone = attempt(what, ReplayStrategy(run.engine.tape), max_steps=self._max_steps)
        if alone.failure is None:
            return []
        found = Found(alone.failure, alone.tape, self.number, alone.measure.steps)
        return describe(what, found, self._max_steps).splitlines()

    def counts(self) -> dict[str, Any]:
        """For the report: plain values."""
        coverage = self._counter.coverage()
        text = f"{self.number} schedules, {coverage.distinct} classes"
        if self._pruned:
            text += f", {self._pruned} pruned"
        if self._complete:
            bound = getattr(self._strategy, "bound", "")
            text += f", nothing left to try{f' within {bound}' if bound else ''}"
        elif coverage.runs and not getattr(self._strategy, "systematic", False):
            text += f", chance of a new class about {1 - coverage.seen_before:.0%}"
        return {"schedules": self.number, "classes": coverage.distinct, "seeds": [self.seed], "text": text}


def _carries(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether that is what went wrong; nurseries wrap a single exception in groups."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return isinstance(error, kind)


def from_item(item: pytest.Item) -> Schedules:
    """The schedules of a test."""
    return Schedules(item)


class _Checker:
    """What the fixture `gmem_check` gives."""

    def __init__(self, item: pytest.Item) -> None:
        self.budget = Budget.of(item)
        self._done: list[Checked] = []
        self._seeds: set[int] = set()
        if self.budget.replay is not None:
            pytest.skip(
                "--gmemsim-replay is for tests with gmem_schedule; what gmem_check finds, `gmemsim replay` plays again"
            )

    def __call__(self, *what: Any, **options: Any) -> Checked:
        """`gmemsim.testing.check`; what the call says goes before the marker, the command line before both."""
        __tracebackhide__ = True
        budget = self.budget
        given = {
            "strategy": budget.strategy,
            "schedules": budget.schedules,
            "seconds": budget.seconds,
            "seed": budget.seed,
        }
        if budget.without:
            options["without"] = budget.without | left_out(options.get("without", ()))
        used = {**given, **options, **budget.asked}
        self._seeds.add(used["seed"])
        done = check(*what, **used)
        self._done.append(done)
        return done

    def counts(self) -> dict[str, Any]:
        """For the report: plain values."""
        runs = sum(done.search.schedules for done in self._done)
        classes = sum(done.coverage.distinct for done in self._done)
        return {
            "schedules": runs,
            "classes": classes,
            "seeds": sorted(self._seeds),
            "text": f"{runs} schedules, {classes} classes",
        }


def check_for_item(item: pytest.Item) -> _Checker:
    """`check` with a test's budget."""
    return _Checker(item)
