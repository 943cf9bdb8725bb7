"""What ended a run badly, whoever saw it: an oracle, the engine, the workload's own expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from ..engine.blame import Escaped, blame, origin, said
from ..engine.errors import Deadlock, EngineError, ModelError, StepLimit
from ..engine.interrupts import NoStep
from ..engine.locks.kinds import class_of
from ..oracles.own import OracleError
from ..oracles.violation import Violation
from ..scenarios.errors import ScenarioError
from .judges.deadlock import wait_for

if TYPE_CHECKING:
    from ..audit.base import Event
    from .scene import Scene

#: Rule of an exception that neither an oracle nor the engine raised: the model or a user's patch is broken.
CRASH: Final = "crash"


class NotReproduced(ValueError):
    """A run with the same choices came to something else: the program, or a user's patch, is not deterministic."""


@attrs.frozen
class Failure:
    """The first thing that was wrong in a run.

    Attributes:
        rule: id of the invariant (`I2`, `arch:RMP_LEAK`), `deadlock`, `lost_wakeup`, `step_limit`,
            `unexpected_outcome`, …
        summary: one line.
        kind: what it was seen at: the event's type, the lock classes of a deadlock, …; see `signature`.
        place: of an exception of the model or a user's patch: where it was raised; tells crashes of one type apart.
        task, call: whose step showed it, in which of its calls; `-` and 0 if no single one did.
        event: the audit event at which an oracle saw it.
        error: the exception that ended the run, if one did.
        scene: who was where and waited for what; None for a run that nobody asked (`scene.with_scene`).
    """

    rule: str
    summary: str
    kind: str = ""
    place: str = attrs.field(default="", kw_only=True)
    task: str = "-"
    call: int = 0
    event: Event | None = None
    details: dict[str, Any] = attrs.field(factory=dict, eq=False)
    error: BaseException | None = attrs.field(default=None, eq=False, repr=False)
    scene: Scene | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def signature(self) -> tuple[str, str]:
        """What two runs have in common that fail in the same way. A shrinker keeps it."""
        return self.rule, self.kind


def slow(failure: Failure) -> bool:
    """Whether each run that fails in this way takes seconds, because it does not come back by itself."""
    return failure.kind == NoStep.__name__


def failure_of(error: Exception) -> Failure:
    """Name what an exception that ended a run stands for.

    Raises:
        OracleError, ScenarioError: it was that, which says nothing of the patch.
    """
    if isinstance(error, OracleError | ScenarioError):
        raise error
    if isinstance(error, Violation):
        rule, kind = error.signature
        return Failure(
            rule, error.summary, kind, error.task, error.call, error.event, dict(error.details), error
        )
    if isinstance(error, Deadlock):
        stuck = wait_for(error.tasks)
        # Who sleeps beside a cycle, for whatever reason, is no part of what went wrong.
        waits = [edge.on for edge in stuck.cycle] or [on for _, on, _ in error.waits]
        kind = " ".join(sorted({class_of(on) for on in waits}))
        rule = "lost_wakeup" if stuck.kind == "lost_wakeup" else "deadlock"
        summary = f"{rule.replace('_', ' ')}: {stuck.text()}" if stuck.text() else str(error)
        return Failure(rule, summary, kind, details={"waits": error.waits, "wait_for": stuck}, error=error)
    if isinstance(error, StepLimit):
        return Failure("step_limit", str(error), error=error)
    if isinstance(error, EngineError):
        name = type(error).__name__
        rule = "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
        place = origin(error) if isinstance(error, ModelError) else ""
        return Failure(rule, str(error), name, error=error, place=place)
    found = blame(error)
    kind = type(error.__cause__ if isinstance(error, Escaped) and error.__cause__ else error).__name__
    text = said(error)
    if found is not None and str(found) not in text:
        text = f"{text} ({found})"
    details = {} if found is None else {"at": str(found), "traceback": found.excerpt}
    return Failure(CRASH, " ".join(text.split()), kind, details=details, error=error, place=origin(error))
