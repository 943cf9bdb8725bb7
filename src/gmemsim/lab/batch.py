"""Many scenarios on one kernel and on the model, one comparison each, some at a time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import attrs

from ..explore.program import ScenarioProgram
from .compare import compare, held, model_set
from .kernels import Kernel
from .machine import Machine
from .refusals import vm_type_of
from .results import Row, row_of
from .runs import KernelRuns, run_programs
from .versions import release_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..scenarios.scenario import Scenario
    from .compare import Comparison, ModelSet
    from .results import Head
    from .translate import Program, Steering

#: Schedules at random of the first look at the model, where its states were not all.
_FIRST_SCHEDULES: Final = 200
#: Scenarios of one boot.
BATCH: Final = 40
#: States of the first look at the model: many drawn scenarios have fewer, and are searched whole.
STATES: Final = 2_000


@attrs.define
class Campaign:
    """What came of it so far.

    Attributes:
        rows: by name of the scenario.
        boots: how each ended.
        front: what the last one was made with.
        interrupted: Ctrl-C.
        late: the time was up before all had been run.
    """

    rows: dict[str, Row] = attrs.field(factory=dict)
    boots: list[str] = attrs.field(factory=list)
    about: dict[str, object] = attrs.field(factory=dict)
    front: str = ""
    seconds: float = 0.0
    model_seconds: float = 0.0
    interrupted: bool = False
    late: bool = False


def compare_all(
    kernel: Kernel,
    version: str,
    scenarios: Sequence[Scenario],
    programs: Sequence[Program],
    steering: Steering,
    *,
    machine: Machine | None = None,
    model_states: int = STATES,
    model_seconds: float | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
    keep: Callable[[Row], None] = lambda _row: None,
    batch: int = BATCH,
) -> Campaign:
    """Run `batch` of them on the kernel, then each on the model, and so on; Ctrl-C keeps what there is.

    Args:
        machine: its seconds are for everything, the model's part too.
        model_states, model_seconds: see `ask_again`.
        keep: told of each scenario that was compared, as soon as it was.

    Raises:
        LabError, ScenarioError, PatchError: the kernel does not come up, or a scenario cannot be built.
    """
    found = Campaign()
    machine = machine or Machine()
    began = monotonic()
    for first in range(0, len(scenarios), batch):
        left = machine.seconds - (monotonic() - began) if machine.seconds else 0
        if left < 0 or found.interrupted:
            found.late = left < 0
            break
        some = slice(first, first + batch)
        runs = _on_kernel(kernel, programs[some], steering, attrs.evolve(machine, seconds=left), cache, say)
        found.boots += runs.boots
        found.about = runs.about or found.about
        found.front = runs.front or found.front
        found.seconds += runs.seconds
        found.late |= "time" in runs.boots
        if runs.interrupted:
            found.interrupted = True
            say("interrupted: what came until then is compared; Ctrl-C again ends that too")
        asked = monotonic()
        try:
            for scenario, run in zip(scenarios[some], runs.runs, strict=True):
                if not run.ended and run.hung is None and not run.refused:
                    continue
                one = _ask(
                    kernel, version, scenario, steering.seed, model_states, model_seconds,
                    partial(compare, run, program=run.program),
                )  # fmt: skip
                row = row_of(run.program.name, scenario.source.text, run.seconds, one)
                found.rows[row.scenario] = row
                keep(row)
                if row.verdict != "agree":
                    say(f"{row.scenario}: {row.verdict} {row.note or row.died}".rstrip())
        except KeyboardInterrupt:
            found.interrupted = True
        found.model_seconds += monotonic() - asked
    return found


def _on_kernel(
    kernel: Kernel,
    programs: Sequence[Program],
    steering: Steering,
    machine: Machine,
    cache: Path | None,
    say: Callable[[str], None],
) -> KernelRuns:
    """Where a boot died under a program, once more: emulation has accidents, a fault of a kernel stays."""
    runs = run_programs(kernel, programs, steering, machine=machine, cache=cache, say=say)
    for number, run in enumerate(runs.runs):
        if runs.interrupted or not run.died.startswith("the boot ended"):
            continue
        again = run_programs(kernel, [run.program], steering, machine=machine, cache=cache, say=say)
        runs.runs[number] = again.runs[0]
        runs.boots += again.boots
        runs.seconds += again.seconds
        runs.interrupted |= again.interrupted
    return runs


def ask_again(
    head: Head, row: Row, scenario: Scenario, version: str, states: int, seconds: float | None
) -> Row:
    """What a kernel came to earlier, against the model as it is now, of whatever version.

    Args:
        states: of the first look at the model, which gives the share of outcomes seen if these are all.
        seconds: for the second, if the first does not have all that the kernel came to.

    Raises:
        ScenarioError, PatchError: it cannot be built.
        KeyboardInterrupt: Ctrl-C.
    """
    if row.verdict == "refused":
        return row
    kernel = Kernel(head.kernel, Path(), None)
    one = _ask(
        kernel, version, scenario, head.seed, states, seconds,
        partial(held, row.kernel_outcomes, rounds=row.rounds, hung=row.hung, died=row.died),
    )  # fmt: skip
    return row_of(row.scenario, scenario.source.text, row.seconds, one)


def _ask(
    kernel: Kernel,
    version: str,
    scenario: Scenario,
    seed: int,
    states: int,
    seconds: float | None,
    against: Callable[[ModelSet], Comparison],
) -> Comparison:
    """The model is searched up to `states`; if that has not all that the kernel came to, for as long as it may."""
    one = ScenarioProgram(
        scenario=scenario,
        patch=version,
        arch=vm_type_of(scenario),
        release=release_of(kernel),
        seed=seed,
    )
    result = against(model_set(one, states=states, schedules=_FIRST_SCHEDULES, seconds=seconds))
    if result.verdict == "undecided" and not result.model.complete:
        result = against(model_set(one, states=1_000_000, seconds=seconds))
    return result
