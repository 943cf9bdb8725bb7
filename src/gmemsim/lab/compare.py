"""What a kernel came to, held against all that the model can come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from ..explore.campaign import Campaign
from ..explore.past_choices import run_past_choices
from ..explore.program import ScenarioProgram, ScenarioRun
from ..explore.search import Limits
from ..scenarios import ops
from .errors import LabError
from .wire import Page

if TYPE_CHECKING:
    from ..audit.recorder import Rec
    from ..engine.strategy import Strategy
    from ..scenarios.session import Session
    from ..scenarios.workload import Workload
    from .runs import Runs
    from .translate import Program
    from .wire import Result

#: How a run of the model ends that a kernel shows as a hang.
HANGS: Final = frozenset({"deadlock", "livelock", "lost_wakeup"})


@attrs.frozen
class ModelSet:
    """What the model can come to.

    Attributes:
        complete: whether the search covered every schedule.
        hangs: whether some run does not end.
        stopped: why the search ended.
    """

    outcomes: frozenset[str]
    complete: bool
    hangs: bool
    stopped: str
    states: int


@attrs.frozen(kw_only=True)
class Comparison:
    """A kernel's runs of one scenario against the model's.

    Attributes:
        verdict: `agree`: each outcome is one of the model's; `differ`: one is not, and the model's set is complete;
            `undecided`: one was not seen in the model, whose search is not complete; `refused`: the kernel refused the
            setup or nothing ran.
        alien: outcomes of the kernel's that the model does not have, and how often they came.
        seen: of the model's outcomes, those that the kernel came to.
        died: how the run on the kernel ended, if badly.
        note: why it was refused.
    """

    verdict: Literal["agree", "differ", "undecided", "refused"]
    outcomes: dict[str, int]
    alien: dict[str, int]
    seen: int
    model: ModelSet
    rounds: int
    hung: bool
    died: str = ""
    note: str = ""


class _Run(ScenarioRun):
    """Its outcome is what a kernel shows too."""

    def outcome(self) -> str:
        return _model_outcome(self.session)


@attrs.frozen(kw_only=True)
class _Observed(ScenarioProgram):
    """The scenario with outcomes as a kernel shows them."""

    def build(self, strategy: Strategy, *, rec: Rec | None = None, max_steps: int = 20_000) -> ScenarioRun:
        without = self.without
        if self.rules is not None and not self.rules:
            # Nobody looks after rules, nor after what the scenario expects.
            without |= {"unexpected_outcome"}
        return _Run(super().build(strategy, rec=rec, max_steps=max_steps).session, without=without)


def check_comparable(workload: Workload) -> None:
    """Raise for a scenario of which model and kernel do not show the same.

    Raises:
        LabError: with what is in the way.
    """
    for actor in workload.actors:
        if actor.until or actor.repeat is None:
            raise LabError(
                f"{workload.head.name}: task {actor.name} goes on until others are done: no end of outcomes to compare"
            )
        for step in actor.steps:
            if getattr(step.op, "sees", ()):
                raise LabError(
                    f"{workload.head.name}: {step.op.name} with `sees`: leave it out to compare values"
                )
            if isinstance(step.op, ops.SetFileAttributes) and step.op.attempts > 1:
                raise LabError(f"{workload.head.name}: set_file_attributes with attempts: expected 1")


def observed(program: ScenarioProgram, rules: frozenset[str] | None = frozenset()) -> ScenarioProgram:
    """The program with outcomes as a kernel shows them; `rules` are those that are looked after."""
    fields = {field.name: getattr(program, field.name) for field in attrs.fields(ScenarioProgram)}
    return _Observed(**{**fields, "rules": rules})


def outcome_of(run: ScenarioRun) -> str:
    """What a run of the model came to, as a kernel shows it."""
    return _model_outcome(run.session)


def model_set(
    program: ScenarioProgram,
    *,
    seconds: float | None = None,
    states: int | None = None,
    schedules: int = 5_000,
    rules: frozenset[str] | None = frozenset(),
) -> ModelSet:
    """All outcomes of a scenario on a version, as far as the limits reach: every state, then `schedules` at random.

    Args:
        rules: invariants to look after: runs that break one come to nothing. Default: none.

    Raises:
        ScenarioError, PatchError: it cannot be built.
    """
    campaign = Campaign(
        program=observed(program, rules),
        limits=Limits(seconds=seconds, states=states, schedules=schedules),
        keep_going=True,
        outcomes=True,
        classes=False,
    )
    done = run_past_choices(campaign).search
    if done.stopped == "interrupted":
        raise KeyboardInterrupt
    hangs = any(found.failure.rule in HANGS for found in done.found)
    return ModelSet(frozenset(done.outcomes), done.complete, hangs, str(done.stopped), done.states)


def compare(runs: Runs, model: ModelSet, program: Program) -> Comparison:
    """Hold the one against the other."""
    outcomes: dict[str, int] = {}
    note = runs.refused
    for result, count in runs.results.items():
        text = kernel_outcome(result, program)
        if any(call.outcome == "cannot" for task in result.tasks for call in task):
            note = note or "the kernel has no way to do one of its operations"
        outcomes[text] = outcomes.get(text, 0) + count
    return held(outcomes, model, rounds=runs.rounds, hung=runs.hung is not None, died=runs.died, refused=note)


def held(
    outcomes: dict[str, int], model: ModelSet, *, rounds: int, hung: bool, died: str = "", refused: str = ""
) -> Comparison:
    """Outcomes of a kernel against the model's.

    Args:
        died: how the run ended, if badly.
        refused: why it could not be run.
    """
    alien = {text: count for text, count in outcomes.items() if text not in model.outcomes}
    verdict: Literal["agree", "differ", "undecided", "refused"] = "agree"
    if refused or not (outcomes or hung):
        verdict, outcomes, alien = "refused", {}, {}
        refused = refused or died or "nothing ran"
    elif alien or died or (hung and not model.hangs):
        verdict = "differ" if model.complete else "undecided"
    return Comparison(
        verdict=verdict,
        outcomes=outcomes,
        alien=alien,
        seen=len(set(outcomes) & model.outcomes),
        model=model,
        rounds=rounds,
        hung=hung,
        died=died,
        note=refused,
    )


def kernel_outcome(result: Result, program: Program) -> str:
    """Every operation's result, then what each open file holds."""
    tasks = [
        f"{name}({' '.join(call.text() for call in calls)})"
        for name, calls in zip(program.tasks, result.tasks, strict=True)
    ]
    files = [_file_text(name, pages) for name, pages in zip(program.files, result.files, strict=True)]
    return " ".join((*tasks, *files))


def _file_text(name: str, pages: tuple[Page, ...] | None) -> str:
    return f"{name} closed" if pages is None else f"{name}[{' '.join(page.text() for page in pages)}]"


def _model_outcome(session: Session) -> str:
    """The same of a run of the model."""
    tasks = []
    for name, results in session.results.items():
        calls = (
            f"{r.op}={r.outcome}{':' + ','.join(r.values) if r.values else ''}" for r in results.operations
        )
        tasks.append(f"{name}({' '.join(calls)})")
    machine = session.machine
    files = []
    for name in session.workload.tables.files:
        opened = machine.files.get(name)
        if opened is None:
            files.append(_file_text(name, None))
            continue
        flags = opened.inode.flags
        pages = []
        for index, folio in sorted(opened.inode.folios.items()):
            value = ""
            if {"MMAP", "INIT_SHARED"} <= flags:
                value = "zero"
                if folio.poisoned:
                    value = "SIGBUS"
                elif folio.uptodate:
                    value = machine.memory.content(folio.pfn)
            pages.append(Page(index, folio.uptodate if "MMAP" in flags else None, value))
        files.append(_file_text(name, tuple(pages)))
    return " ".join((*tasks, *files))
