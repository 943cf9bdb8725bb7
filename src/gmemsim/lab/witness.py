"""A token of a failing schedule as what a kernel has to be brought to: program, order of blocks, what shows it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

import attrs

from ..explore.failure import failure_of
from ..explore.functions import functions_of
from ..explore.lenient import LenientReplay
from ..explore.replay import replay
from ..explore.strategies import make_strategy
from ..explore.token_names import TokenError
from .compare import HANGS, model_set, observed, outcome_of
from .errors import LabError
from .plan import Plan, Step, blocks_of
from .refusals import vm_type_of
from .translate import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.tape import Tape
    from ..engine.task import Task
    from ..explore.program import ScenarioProgram, ScenarioRun
    from .plan import Block
    from .translate import Program

#: Plans that a kernel is given the choice of.
_MOST: Final = 400
#: Schedules of each random strategy, and seconds in all, in which an easier one is looked for.
_SCHEDULES: Final = 3_000
_SECONDS: Final = 30.0
#: States of the model that are looked at for whether other schedules come to the same.
_STATES: Final = 3_000


@attrs.frozen
class Witness:
    """What a token says, for a kernel.

    Attributes:
        rule, summary: the failure.
        plans: the token's schedule, and where that leaves a task at no function's beginning others that fail alike.
        others: how many such were seen.
    """

    program: Program
    version: str
    rule: str
    summary: str
    plans: tuple[Plan, ...]
    others: int = 0


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
    ends = {name: count + _extra(count - 1, widths[name]) for name, count in counts.items()}

    def blocks(steps: list[Step]) -> list[Block]:
        numbered = [
            attrs.evolve(step, call=step.call + _extra(step.call, widths[step.task])) for step in steps
        ]
        return blocks_of(numbered, ends)

    own = blocks(_walk(source.build(LenientReplay(said.tape)))[0])
    found = {tuple(own): said.tape}
    others = 0
    if not all(block.until.exact for block in own):
        others, more = _others(source, done.failure.rule, blocks)
        found = {**found, **more}
    return Witness(
        program=program,
        version=source.patch if isinstance(source.patch, str) else source.patch.name,
        rule=done.failure.rule,
        summary=done.failure.summary,
        plans=_judged(source, found),
        others=others,
    )


def _extra(call: int, width: int) -> int:
    return max(0, call) // width if width else 0


def _others(
    source: ScenarioProgram, rule: str, blocks: Callable[[list[Step]], list[Block]]
) -> tuple[int, dict[tuple[Block, ...], Tape]]:
    """Schedules that fail by the same rule, those first to which a kernel can be held best, and how many were seen.

    A short schedule may leave a task where no function begins, for instance with a lock just taken.
    """
    found: dict[tuple[Block, ...], Tape] = {}
    seen = 0
    end = monotonic() + _SECONDS
    for seed, name in enumerate(("pos", "random")):
        strategy = make_strategy(name, seed)
        for _ in range(_SCHEDULES):
            run = source.build(strategy)
            if monotonic() > end or not strategy.begin(run.engine):
                break
            steps, broken = _walk(run)
            if broken == rule:
                seen += 1
                found.setdefault(tuple(blocks(steps)), run.engine.tape)
    best = sorted(found, key=lambda some: Plan(some).worth)[:_MOST]
    return seen, {some: found[some] for some in best}


def _judged(source: ScenarioProgram, found: dict[tuple[Block, ...], Tape]) -> tuple[Plan, ...]:
    """Each with what it comes to when nobody looks after rules: it goes on to its end, or hangs."""
    plans = []
    fine: frozenset[str] | None = None
    for blocks, tape in found.items():
        run = observed(source).build(LenientReplay(tape))
        rule = _walk(run)[1]
        outcome = "" if rule else outcome_of(run)
        if not rule and fine is None:
            # Failing schedules are none of these: whoever looks after rules ends them early.
            fine = model_set(source, states=_STATES, schedules=300, seconds=20, rules=source.rules).outcomes
        plans.append(
            Plan(blocks, rule in HANGS, outcome, fine is not None and not rule and outcome not in fine)
        )
    return tuple(plans)


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
