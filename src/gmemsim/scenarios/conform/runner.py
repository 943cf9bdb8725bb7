"""Run vectors: build the machine, take the steps in order, compare each with what it is expected to come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from ...engine import bare
from ...engine.engine import Engine
from ...engine.errors import EngineError, ModelError, Pruned
from . import accesses, calls, probes
from .arguments import Loop
from .invariants import TAKEN_AWAY, TakenAway
from .registry import OPS
from .results import Got, Mismatch, check
from .rig import Rig, Unsupported
from .setup import bring_about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...engine.strategy import Strategy
    from ...engine.task import Task
    from .case import Case
    from .vector import Step

#: Steps of a vector at most: one pins the 262,144 pages of a GiB, which takes some millions.
MAX_STEPS: Final = 1 << 24

_MODULES: Final = (accesses, calls, probes)

#: Operations that go on until something disturbs them.
GUEST_LOOPS: Final = ("guest_read_loop", "guest_write_loop")


@attrs.frozen
class Verdict:
    """How a case ended.

    Attributes:
        result: `passed`, `failed` or `unsupported`.
        step: path of the step that decided; empty if none did.
        expected, got: of a failure; `got` is the reason if it is unsupported.
    """

    result: Literal["passed", "failed", "unsupported"]
    step: str = ""
    expected: Any = None
    got: Any = None


class VectorRun:
    """One run of a case: a `Run` for the explorer.

    Attributes:
        engine: of the run; exploring if a strategy was given.
        rig: the machine.
    """

    def __init__(
        self, case: Case, strategy: Strategy | None, *, rec: Callable[..., Any] | None, max_steps: int
    ) -> None:
        self.case = case
        self.rig = Rig(case, strategy, rec, max_steps)
        self.engine = self.rig.session.engine
        watched = any(TAKEN_AWAY in step.expect.get("invariants", ()) for step in case.vector.all_steps())
        self._taken_away = TakenAway(self.rig) if watched else None
        setup = Engine(exploring=True, rec=rec, max_steps=max_steps)
        setup.spawn("setup", bring_about, self.rig)
        bare.run(setup)
        if any(step.op == "event_count" for step in case.vector.all_steps()):
            self.engine.rec = self.rig.counts.before(rec)

    def run(self) -> None:
        """All steps.

        Raises:
            Mismatch, Unsupported, EngineError: see `verdict`.
        """
        self.engine.spawn("vector", self._steps, self.case.vector.steps)
        self.rig.session.run()

    def verdict(self) -> Verdict:
        """Run, and say how it ended.

        Raises:
            Pruned: the strategy cut it short.
        """
        try:
            self.run()
        except Mismatch as error:
            return Verdict("failed", error.path, error.expected, error.got)
        except Unsupported as error:
            return Verdict("unsupported", "", None, str(error))
        except (ModelError, Pruned):
            raise
        except EngineError as error:
            return Verdict("failed", "", "an end", str(error))
        return Verdict("passed")

    async def _steps(self, t: Task, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._step(t, step)
            self.rig.others.moved(t)

    async def _step(self, t: Task, step: Step) -> None:
        if step.op == "parallel":
            await self._parallel(t, step)
            return
        if isinstance(step.args, Loop):
            for _ in range(step.args.count):
                await self._steps(t, step.branches[0])
            check(self.rig.noted, step.path, step.expect, Got("ok"))
            return
        assert step.args is not None  # build_case refused a step that nobody knows
        if step.actor == "child" and step.actor not in self.rig.machine.children:
            raise Unsupported(f"step {step.path}: actor 'child', which no fork made")
        before = frozenset() if self._taken_away is None else self._taken_away.begin(step)
        try:
            got: Got = await OPS[type(step.args)](self.rig, t, step, step.args)
        except Unsupported as error:
            raise Unsupported(f"step {step.path}: {error}") from None
        if step.op != "signal_pending":
            # It met this step, even if that was no call.
            self.rig.machine.armed.discard(step.actor)
        check(self.rig.noted, step.path, step.expect, got)
        if self._taken_away is not None and self._taken_away.broken(step, got, before):
            raise Mismatch(step.path, TAKEN_AWAY, got.plain())

    async def _parallel(self, t: Task, step: Step) -> None:
        """Every branch on a task of its own; the step ends when all have."""
        others = self.rig.others
        others.begin(len(step.branches), sum(branch[0].op in GUEST_LOOPS for branch in step.branches))
        for number, branch in enumerate(step.branches):
            self.engine.spawn(f"branch{step.path}.{number}", self._branch, branch)
        await others.join(t)
        check(self.rig.noted, step.path, step.expect, Got("ok"))

    async def _branch(self, t: Task, branch: tuple[Step, ...]) -> None:
        if branch[0].op not in GUEST_LOOPS:
            await self.rig.others.warm(t)
        await self._steps(t, branch)
        self.rig.others.done(t)


def build_case(
    case: Case,
    strategy: Strategy | None = None,
    *,
    rec: Callable[..., Any] | None = None,
    max_steps: int = MAX_STEPS,
) -> VectorRun:
    """A run of `case`, its setup done.

    Raises:
        Unsupported: the setup asks for something that is not there.
    """
    unknown = case.vector.unsupported()
    if unknown:
        raise Unsupported(unknown)
    return VectorRun(case, strategy, rec=rec, max_steps=max_steps)
