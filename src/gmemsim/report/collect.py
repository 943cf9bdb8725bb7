"""Run a failing schedule again, watch it, and gather everything that a report needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arch.registry import projection_note
from ..engine.errors import StepLimit
from ..engine.strategy import ReplayStrategy
from ..engine.tape import Tape
from ..explore.failure import NotReproduced, slow
from ..explore.findings.table import known
from ..explore.token_names import replay_options
from ..oracles.every_rule import EVERY_RULE
from .calls import calls_of, context_of, vm_types_of
from .lock_state import lock_states
from .model import NOT_SEEN, FailureReport
from .nearest import TRIES, find_nearest
from .recording import record
from .slicing import steps_that_matter
from .why import explain, subject_of

if TYPE_CHECKING:
    from ..explore.failure import Failure
    from ..explore.runs import Program
    from ..explore.search import Found
    from .model import Moment
    from .recording import Recording


def report_failure(program: Program, found: Found, replay: str = "", *, tries: int = TRIES) -> FailureReport:
    """Everything about one failing run of `program`.

    Args:
        program: what was searched; for a reader's sake, shrunk before.
        found: failure and tape.
        replay: token that replays it, for the command line in the report.
        tries: runs that the search for a passing schedule may take; 0: do not look for one.

    Raises:
        NotReproduced: the tape does not show the failure on this program.
        TapeMismatch: the tape does not fit the program.
    """
    failure = found.failure
    error = failure.error
    # A livelock is shown again by the limit that it was found with.
    limit = error.steps if isinstance(error, StepLimit) else max(20_000, 4 * found.steps)
    failing = record(program, ReplayStrategy(Tape(found.tape.raw)), limit)
    again = failing.failure
    if again is None or again.signature != failure.signature:
        shown = "nothing" if again is None else f"{again.rule} ({again.summary})"
        raise NotReproduced(
            f"the tape of a {failure.rule} ({failure.summary}) shows {shown} on {program.name}"
        )
    calls = calls_of(failing.run, failing.steps)
    subject = subject_of(again, failing, calls)
    nearest, passing, tried = find_nearest(
        program, failing, max_steps=limit, tries=0 if slow(failure) else tries
    )
    why = explain(again, subject, failing, () if passing is None else passing.steps)
    locks = lock_states(failing, subject.moment.step)
    shown_steps = steps_that_matter(failing.steps, subject.interest, why, nearest, locks, subject.moment.step)
    says, source = _rule(again.rule)
    choices = failing.engine.tape.raw
    kinds = vm_types_of(failing.run)
    preemptions = sum(1 for step in failing.steps if step.preempted)
    return FailureReport(
        program=program.name,
        context=context_of(failing.run),
        rule=again.rule,
        says=says,
        source=source,
        kind=again.kind,
        summary=again.summary,
        verdict=_verdict(program, again, subject.moment, failing, preemptions),
        replay=replay,
        calls=calls,
        tasks=tuple(task.name for task in failing.engine.tasks),
        steps=tuple(failing.steps),
        shown=shown_steps,
        preemptions=preemptions,
        choices=len(choices),
        holds=tuple(failing.holds),
        waits=tuple(failing.waits),
        locks=locks,
        moment=subject.moment,
        why=why,
        nearest=nearest,
        tried=tried,
        known=known(again),
        not_seen=(*NOT_SEEN, *filter(None, map(projection_note, kinds))),
        replay_with=replay_options(program),
        traceback=again.details.get("traceback", ()),
    )


def _rule(ident: str) -> tuple[str, str]:
    rule = EVERY_RULE.get(ident)
    return ("", "") if rule is None else (rule.says, rule.source)


def _verdict(program: Program, failure: Failure, moment: Moment, failing: Recording, preemptions: int) -> str:
    summary = failure.summary.removeprefix(f"{failure.rule}: ").removeprefix(
        f"{moment.task} call {moment.call}: "
    )
    where = f" at step {moment.step}" if moment.step else ""
    who = f" in {moment.task} call {moment.call}" if moment.task != "-" and moment.call else ""
    stops = f"{preemptions} preemption{'' if preemptions == 1 else 's'}"
    return f"{failure.rule}{who}{where}: {summary} ({program.name}; {len(failing.steps)} steps, {stops})"
