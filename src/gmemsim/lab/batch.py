"""Many scenarios on one kernel and on the model, one comparison each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..explore.program import ScenarioProgram
from .compare import Comparison, compare, model_set
from .refusals import vm_type_of
from .runs import run_programs
from .versions import release_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..scenarios.scenario import Scenario
    from .kernels import Kernel
    from .machine import Machine
    from .runs import KernelRuns
    from .translate import Program, Steering

__all__ = ["compare_all"]

#: States of the first look at the model: most drawn scenarios have fewer.
_FIRST_STATES: Final = 1_000
_FIRST_SECONDS: Final = 3.0


def compare_all(
    kernel: Kernel,
    version: str,
    scenarios: Sequence[Scenario],
    programs: Sequence[Program],
    steering: Steering,
    *,
    machine: Machine | None = None,
    model_seconds: float | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> tuple[KernelRuns, dict[str, Comparison]]:
    """Run all on the kernel, then each on the model; Ctrl-C keeps what there is.

    The model is searched a little first; only if that does not have all that the kernel came to, for as long as it may.

    Raises:
        LabError, ScenarioError, PatchError: the kernel does not come up, or a scenario cannot be built.
    """
    runs = run_programs(kernel, programs, steering, machine=machine, cache=cache, say=say)
    found: dict[str, Comparison] = {}
    if runs.interrupted:
        say("interrupted: what came until then is compared; Ctrl-C again ends that too")
    try:
        for number, (scenario, program, run) in enumerate(
            zip(scenarios, programs, runs.runs, strict=True), 1
        ):
            if not run.rounds and run.hung is None and not run.refused:
                continue
            one = ScenarioProgram(
                scenario=scenario,
                patch=version,
                arch=vm_type_of(scenario),
                release=release_of(kernel),
                seed=steering.seed,
            )
            model = model_set(one, states=_FIRST_STATES, seconds=_FIRST_SECONDS)
            result = compare(run, model, program)
            if result.verdict == "undecided" and not model.complete and not runs.interrupted:
                model = model_set(one, states=1_000_000, seconds=model_seconds)
                result = compare(run, model, program)
            found[program.name] = result
            if result.verdict != "agree":
                say(f"{number} of {len(programs)}: {program.name}: {result.verdict} {result.note}")
    except KeyboardInterrupt:
        runs.interrupted = True
    return runs, found
