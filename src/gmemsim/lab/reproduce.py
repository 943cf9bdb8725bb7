"""Findings and witnesses on a kernel: threads and calls, who is held where, and what shows it there."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from ..explore.findings.table import FINDINGS
from ..nearest import hint
from ..scenarios.scenario import Scenario, loads
from .compare import kernel_outcome
from .errors import LabError
from .holds import Holder
from .machine import Machine
from .plan import Block, Place, Plan
from .runs import run_programs
from .translate import Steering, translate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .kernels import Kernel
    from .runs import KernelRuns, Runs
    from .translate import Program
    from .witness import Witness


@attrs.frozen
class Scene:
    """How a finding is looked for.

    Attributes:
        shows: `hang`, the outcome that shows it as `task:call:outcome`, or what a warning of the kernel has in it.
        rounds: at most.
        spread_ns: of the delays.
        plans: where its tasks are held, if delays are not enough.
        madvise: memory errors by MADV_HWPOISON.
    """

    finding: str
    shows: str
    rounds: int = 3000
    spread_ns: int = 20_000
    plans: tuple[Plan, ...] = ()
    madvise: bool = True

    def scenario(self) -> Scenario:
        """The scene's file, beside this module."""
        text = (
            resources.files(__package__)
            .joinpath("scenes", f"{self.finding}.toml")
            .read_text(encoding="utf-8")
        )
        return loads(text, f"{self.finding}.toml")


def _unbind_plans() -> tuple[Plan, ...]:
    """The hook of memory_failure is held between start and end of its invalidation, where its second walk begins.

    Meanwhile the slot's deletion comes to kvm_gmem_unbind with slots_lock held, and the file dies: its release waits
    for that lock. Whether the first walk is in the hook itself or in a function of its own is the compiler's choice.
    """

    def entry(*functions: str, times: int = 1) -> Place:
        return Place("entry", functions=functions, times=times)

    return tuple(
        Plan(
            (
                Block("fail", entry("xa_find<kvm_gmem_error_folio", times=times)),
                Block("vmm", entry("kvm_gmem_unbind")),
                Block("closer", Place("waits")),
                Block("vmm", Place("call", 1)),
                Block("fail", Place("call", 1)),
                Block("closer", Place("call", 1)),
            )
        )
        for times in (1, 2)
    )


SCENES: Final = {
    scene.finding: scene
    for scene in (
        Scene("memory-failure-against-punch", "hang"),
        Scene("memory-failure-allocation-writer", "hang"),
        Scene("poisoned-mapping-survives-punch", "vmm:3:SIGBUS", rounds=3, spread_ns=0),
        Scene("prefault-keeps-obsolete-root", "hang", spread_ns=0, madvise=False),
        Scene(
            "unbind-during-memory-failure",
            "WARNING:.*kvm_destroy_vm",
            rounds=10,
            spread_ns=0,
            plans=_unbind_plans(),
            madvise=False,
        ),
    )
}


def scene_of(finding: str) -> Scene:
    """The scene of a finding.

    Raises:
        LabError: no such finding, or it has no scene.
    """
    if finding not in FINDINGS:
        raise LabError(f"no finding {finding!r}; {hint(finding, FINDINGS)}")
    if finding not in SCENES:
        raise LabError(f"{finding} has no scene for a kernel; those that have one: {', '.join(SCENES)}")
    return SCENES[finding]


def expected(finding: str, kernel: Kernel) -> Literal["confirmed", "fixed in", "refuted", ""]:
    """What is known of the finding on this kernel: the state that names its version or series; empty: nothing."""
    major, minor = kernel.series
    for state in FINDINGS[finding].states:
        if state.kind != "by reading" and {kernel.version, f"{major}.{minor}"} & set(state.kernels):
            return state.kind
    return ""


def reproduce(
    scene: Scene,
    kernel: Kernel,
    *,
    rounds: int | None = None,
    seed: int = 0,
    machine: Machine | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> KernelRuns:
    """Run the scene until it hangs, or all its rounds.

    Raises:
        LabError: the kernel does not come up, or cannot do it.
    """
    program = translate(scene.scenario().resolve(), "default", madvise=scene.madvise)
    steering = Steering(
        rounds=rounds or scene.rounds,
        seed=seed,
        spread_ns=scene.spread_ns,
        madvise=scene.madvise,
        stop_after=400,
    )
    return _run(kernel, program, steering, scene.plans, machine, cache, say)


def _run(
    kernel: Kernel,
    program: Program,
    steering: Steering,
    plans: tuple[Plan, ...],
    machine: Machine | None,
    cache: Path | None,
    say: Callable[[str], None],
) -> KernelRuns:
    """Each task held where a plan says, if there is one."""
    machine = machine or Machine()
    if not plans:
        return run_programs(kernel, [program], steering, machine=machine, cache=cache, say=say)
    machine = attrs.evolve(machine, debug=True, cpus=max(machine.cpus, len(program.tasks) + 1))
    return run_programs(
        kernel, [program], steering, machine=machine, cache=cache, say=say,
        holder=lambda: Holder(program.tasks, plans),
    )  # fmt: skip


def shown(scene: Scene, run: Runs) -> bool:
    """Whether the finding was seen."""
    if scene.shows == "hang":
        return run.hung is not None and bool(run.stacks)
    if "WARNING" in scene.shows:
        return any(re.search(scene.shows, line) for line in run.kernel_said)
    task, call, outcome = scene.shows.split(":")
    place = run.program.tasks.index(task)
    return any(
        len(result.tasks[place]) > int(call) and result.tasks[place][int(call)].outcome == outcome
        for result in run.results
    )


def reproduce_witness(
    witness: Witness,
    kernel: Kernel,
    *,
    rounds: int = 20,
    hold: bool = True,
    seed: int = 0,
    machine: Machine | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> KernelRuns:
    """Run the witness's tasks, each held where its blocks end, or with drawn delays only, until it hangs.

    Raises:
        LabError: the kernel does not come up.
    """
    steering = Steering(
        rounds=rounds,
        seed=seed,
        spread_ns=0 if hold else 20_000,
        each=True,
        stop_after=400,
        still=15,
        report_seconds=15,
    )
    return _run(kernel, witness.program, steering, witness.plans if hold else (), machine, cache, say)


def followed(witness: Witness, runs: KernelRuns) -> Plan:
    """The plan that the kernel was held to; the token's own where nobody was held."""
    return runs.holders[-1].plan if runs.holders and runs.holders[-1].plan.blocks else witness.plans[0]


def seen_of(witness: Witness, runs: KernelRuns) -> list[str]:
    """What shows the witness's failure on the kernel, in words; empty: nothing does."""
    run = runs.runs[0]
    plan = followed(witness, runs)
    found = []
    if run.hung is not None and run.stacks:
        found.append(f"round {run.hung[0]} hung")
    if run.died:
        found.append(f"it died: {run.died}")
    if plan.telling:
        count = sum(
            count
            for result, count in run.results.items()
            if kernel_outcome(result, run.program) == plan.outcome
        )
        if count:
            found.append(
                f"{count} rounds came to {plan.outcome}, which only failing schedules of the model do"
            )
    # A CPU that stands still for long makes the scheduler warn of it; that is no matter of KVM's.
    warned = [line for line in run.kernel_said if re.search(r"(WARNING|BUG): .*kvm", line)]
    if warned:
        found.append(f"KVM warned {len(warned)} times")
    return found


def document(scene: Scene, kernel: Kernel, runs: KernelRuns) -> dict[str, Any]:
    """For JSON."""
    return {
        "finding": scene.finding,
        "kernel": kernel.release,
        "shows": scene.shows,
        "shown": shown(scene, runs.runs[0]),
        "known": expected(scene.finding, kernel) or None,
        "rounds_as_planned": sum(reached == of for holder in runs.holders for reached, of in holder.reached),
        **_document(runs),
    }


def witness_document(witness: Witness, runs: KernelRuns) -> dict[str, Any]:
    """For JSON."""
    holders = runs.holders
    plan = followed(witness, runs)
    return {
        "rule": witness.rule,
        "failure": witness.summary,
        "patch": witness.version,
        "kernel": runs.kernel.release,
        "shows": "hang" if plan.hangs else plan.outcome,
        "telling": plan.hangs or plan.telling,
        "shown": seen_of(witness, runs),
        "order": [block.text() for block in plan.blocks] if holders else [],
        "functions_missing": holders[-1].missing if holders else [],
        "blocks_reached": [list(round_) for holder in holders for round_ in holder.reached],
        "schedules_followed": sum(count > 0 for holder in holders for count in holder.followed.values()),
        "holding_ended": [holder.error for holder in holders if holder.error],
        "outcomes": {
            kernel_outcome(result, witness.program): n for result, n in runs.runs[0].results.items()
        },
        **_document(runs),
    }


def _document(runs: KernelRuns) -> dict[str, Any]:
    run = runs.runs[0]
    return {
        "rounds": run.rounds,
        "seconds": round(runs.seconds, 1),
        "stacks": run.stacks,
        "kernel_said": run.kernel_said,
        "refused": run.refused or None,
        "died": run.died or None,
        "boots": runs.boots,
    }
