"""A token of a failing schedule as what a kernel has to be brought to: program, order of blocks, what shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..explore.failure import failure_of
from ..explore.functions import functions_of
from ..explore.lenient import LenientReplay
from ..explore.replay import replay
from ..explore.token import TokenError
from .compare import HANGS, model_set, observed, outcome_of
from .errors import LabError
from .plan import Step, blocks_of
from .refusals import vm_type_of
from .translate import translate

if TYPE_CHECKING:
    from ..engine.task import Task
    from ..explore.program import ScenarioProgram, ScenarioRun
    from ..explore.token import Token
    from .plan import Block
    from .translate import Program

__all__ = ["Witness", "read_witness"]

#: States of the model that are looked at for whether other schedules come to the same.
_STATES: Final = 3_000


@attrs.frozen
class Witness:
    """What a token says, for a kernel.

    Attributes:
        rule, summary: the failure.
        blocks: the order.
        hangs: the schedule does not end; then nothing else is looked for.
        outcome: else what it comes to, in the words of `compare`.
        telling: schedules without a failure do not come to this outcome, as far as was looked.
    """

    program: Program
    version: str
    rule: str
    summary: str
    blocks: tuple[Block, ...]
    hangs: bool
    outcome: str
    telling: bool


def read_witness(token: str, *, patch: str | None = None, vm_type: str | None = None) -> Witness:
    """The witness in a token.

    Args:
        patch: version in place of the recorded one.
        vm_type: of the kernel's VM; default: the token's, or the first that a stock kernel may have.

    Raises:
        LabError: no token, it does not fit the model any more, it has no failure, or a stock kernel cannot do it.
        ScenarioError, PatchError: what it says cannot be run.
    """
    try:
        done = replay(token, patch=patch)
    except TokenError as error:
        raise LabError(str(error)) from None
    if done.diverged:
        raise LabError(f"the token does not fit any more: {done.diverged}")
    if done.failure is None:
        raise LabError("the schedule in the token has no failure")
    said = done.token
    source = said.program(patch)
    workload = source.scenario.resolve(source.parameters, vcpus=source.vcpus, small=source.small)
    for actor in workload.actors:
        if actor.until or actor.repeat is None:
            raise LabError(f"task {actor.name} goes on until others are done: its calls cannot be numbered")
    program = translate(workload, vm_type or source.arch or vm_type_of(source.scenario), seed=source.seed)
    counts = {actor.name: (actor.repeat or 1) * len(actor.steps) for actor in workload.actors}
    # Between two rounds of a task the runner has an operation of its own.
    widths = {actor.name: len(actor.steps) for actor in workload.actors}
    steps, hangs, outcome = _steps(said, source)
    numbered = [attrs.evolve(step, call=step.call + _extra(step.call, widths[step.task])) for step in steps]
    ends = {name: count + _extra(count - 1, widths[name]) for name, count in counts.items()}
    telling = False
    if not hangs:
        # The failing schedule itself is none of these: whoever looks after rules ends it early.
        fine = model_set(source, states=_STATES, schedules=300, seconds=20, rules=source.rules)
        telling = outcome not in fine.outcomes
    return Witness(
        program=program,
        version=source.patch if isinstance(source.patch, str) else source.patch.name,
        rule=done.failure.rule,
        summary=done.failure.summary,
        blocks=tuple(blocks_of(numbered, ends)),
        hangs=hangs,
        outcome=outcome,
        telling=telling,
    )


def _extra(call: int, width: int) -> int:
    return max(0, call) // width if width else 0


def _steps(said: Token, source: ScenarioProgram) -> tuple[list[Step], bool, str]:
    """Steps of the schedule until its failure, whether it ends when nobody looks after rules, and what it comes to."""
    steps = _walk(source.build(LenientReplay(said.tape)))[0]
    # Without oracles it goes on to its end, or hangs.
    run = observed(source).build(LenientReplay(said.tape))
    failure = _walk(run)[1]
    return steps, failure in HANGS, "" if failure else outcome_of(run)


def _walk(run: ScenarioRun) -> tuple[list[Step], str]:
    """Every step of a run, and the rule of its failure."""
    steps: list[Step] = []
    results = run.session.results
    last: Task | None = None

    def look(task: Task) -> None:
        nonlocal last
        if last is not None and last.parked_on is not None and steps:
            steps[-1] = attrs.evolve(steps[-1], waits=True)
        last = task if task.name in results else None
        if last is not None:
            stack, _ = functions_of(task)
            steps.append(Step(task.name, len(results[task.name].operations), stack, op=task.pending.kind))

    run.engine.watch_steps(look)
    try:
        run.run()
    except Exception as error:  # whatever model code raises ends the schedule
        rule = failure_of(error).rule
    else:
        rule = ""
    if last is not None and last.parked_on is not None and steps:
        steps[-1] = attrs.evolve(steps[-1], waits=True)
    return steps, rule
