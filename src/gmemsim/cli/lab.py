"""`gmemsim lab`: scenarios on real kernels, in QEMU, and what came of them against the model."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import INTERRUPTED, UNDECIDED, VIOLATION, InputError
from .output import console, print_json
from .params import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..lab.compare import Comparison
    from ..lab.kernels import Kernel
    from ..lab.machine import Machine
    from ..lab.runs import KernelRuns, Runs
    from ..lab.translate import Program

__all__ = ["command"]


@click.group("lab")
def command() -> None:
    """Run scenarios on real kernels in QEMU, and hold what came of them against the model.

    Needs QEMU, a C compiler and kernels: see `gmemsim lab setup`. No KVM is needed: QEMU emulates nested SVM.
    """


_kernel = click.option(
    "--kernel", required=True, help="Release of a fetched kernel (7.3.4), or PATH of a vmlinuz."
)
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Of delays and of what is drawn.")
_accel = click.option(
    "--accel",
    type=click.Choice(["tcg", "kvm"]),
    default="tcg",
    show_default=True,
    help="Accelerator of QEMU.",
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@contextmanager
def _errors() -> Iterator[None]:
    from ..lab.errors import LabError
    from ..patches.registry import PatchError
    from ..scenarios.errors import ScenarioError

    try:
        yield
    except (LabError, PatchError, ScenarioError) as error:
        raise InputError(str(error)) from None


def _say(text: str) -> None:
    click.echo(text, err=True)


def _machine(accel: str, seconds: float | None) -> Machine:
    from ..lab.machine import Machine

    return Machine(accel=accel, seconds=seconds or 0)


# -- setup ---------------------------------------------------------------------------------------


@command.command("setup")
@click.option("--install", is_flag=True, help="Install missing tools with apt-get, which needs root.")
@click.option(
    "--fetch", "wanted", multiple=True, metavar="RELEASE", help="Fetch this stock kernel of Debian's."
)
@_json
def setup(install: bool, wanted: tuple[str, ...], as_json: bool) -> None:
    """Say what is there and what is missing; fetch kernels.

    Kernels are unpacked into $XDG_CACHE_HOME/gmemsim/lab and not installed. Exit code 2 if something is missing.
    """
    from ..lab.fetch import TOOLS, fetch, missing_tools
    from ..lab.fetch import install as install_tools
    from ..lab.image import build_runner
    from ..lab.kernels import cache_folder, fetched_kernels

    with _errors():
        if install:
            install_tools(_say)
        for release in wanted:
            fetch(release, _say)
        missing = missing_tools()
        kernels = fetched_kernels()
        runner = "" if any(tool.program == "gcc" for tool in missing) else str(build_runner())
    if as_json:
        print_json(
            {
                "missing": [tool.package for tool in missing],
                "kernels": {kernel.release: str(kernel.vmlinuz) for kernel in kernels},
                "runner": runner or None,
                "cache": str(cache_folder()),
            }
        )
    else:
        for tool in TOOLS:
            click.echo(f"{tool.program}: {'missing' if tool in missing else 'there'} ({tool.use})")
        for kernel in kernels:
            click.echo(f"kernel {kernel.release}")
    if missing:
        packages = " ".join(tool.package for tool in missing)
        raise InputError(f"missing: {packages}; gmemsim lab setup --install, or apt-get install {packages}")
    if not kernels:
        raise InputError(
            "no kernel: gmemsim lab setup --fetch 7.3.4, or give --kernel PATH to the other commands"
        )


# -- run -----------------------------------------------------------------------------------------


@command.command("run")
@click.argument("scenario")
@_kernel
@click.option(
    "--arch", type=click.Choice(["default", "sw-protected"]), help="VM type; default: the first that fits."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=100, show_default=True, help="Each in a VM of its own."
)
@click.option(
    "--delay", type=click.IntRange(min=0), default=200, show_default=True, help="Longest drawn delay, in us."
)
@_seed
@click.option("--full", is_flag=True, help="The scenario's full size; default: its [small] values.")
@click.option(
    "--trace", "trace", type=click.Path(path_type=Path), metavar="FOLDER", help="Record ftrace text here."
)
@click.option(
    "--madvise", is_flag=True, help="Memory errors by MADV_HWPOISON, which faults the page in first."
)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, boot and all.")
@_accel
@_json
@click.pass_context
def run(
    ctx: click.Context,
    scenario: str,
    kernel: str,
    arch: str | None,
    rounds: int,
    delay: int,
    seed: int,
    full: bool,
    trace: Path | None,
    madvise: bool,
    max_seconds: float | None,
    accel: str,
    as_json: bool,
) -> None:
    """Run SCENARIO on a kernel: results of every operation, what each file holds after it, and how often.

    With --trace, each round's events as `gmemsim follow` reads them. Exit code 1 if a round hung or the kernel died, 2
    if a stock kernel cannot do what the scenario asks for; what it cannot do is named.
    """
    from ..lab.compare import kernel_outcome
    from ..lab.kernels import find_kernel
    from ..lab.probes import probe_text
    from ..lab.recording import write_recordings
    from ..lab.runs import run_programs
    from ..lab.translate import Steering, translate, vm_type_of
    from ..scenarios.catalogue import find

    with _errors():
        found = find(scenario)
        vm_type = arch or vm_type_of(found)
        program = translate(found.resolve(small=not full), vm_type, seed=seed, madvise=madvise)
        steering = Steering(
            rounds=rounds, seed=seed, spread_ns=delay * 1000, trace=trace is not None, each=trace is not None,
            madvise=madvise,
        )  # fmt: skip
        if trace is not None:
            trace.mkdir(parents=True, exist_ok=True)
        runs = run_programs(
            find_kernel(kernel), [program], steering,
            machine=_machine(accel, max_seconds), probes=probe_text() if trace else "", say=_say,
        )  # fmt: skip
        if trace is not None:
            write_recordings(trace, runs, vm_type)
    one = runs.runs[0]
    outcomes: dict[str, int] = {}
    for result, count in one.results.items():
        text = kernel_outcome(result, program)
        outcomes[text] = outcomes.get(text, 0) + count
    if as_json:
        print_json({**_about(runs, steering.text()), **_run_document(one, outcomes)})
    else:
        click.echo(f"{runs.kernel.release}: {one.rounds} rounds, {len(outcomes)} outcomes; {steering.text()}")
        for text, count in sorted(outcomes.items(), key=lambda item: -item[1]):
            click.echo(f"{count:>7}  {text}")
        _show_bad(one)
    if runs.interrupted:
        ctx.exit(INTERRUPTED)
    if one.hung is not None or one.died:
        ctx.exit(VIOLATION)
    if one.refused or not one.rounds:
        raise InputError(f"{runs.kernel.release}: {one.refused or 'no round came to its end'}")


def _about(runs: KernelRuns, steered: str) -> dict[str, Any]:
    return {
        "kernel": runs.kernel.release,
        "about": runs.about,
        "boots": runs.boots,
        "seconds": round(runs.seconds, 1),
        "steered": steered,
        "interrupted": runs.interrupted,
    }


def _run_document(one: Runs, outcomes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "scenario": one.program.name,
        "rounds": one.rounds,
        "outcomes": [
            {"outcome": text, "count": count} for text, count in sorted(outcomes.items(), key=lambda i: -i[1])
        ],
        "hung": None if one.hung is None else {"round": one.hung[0], "at": list(one.hung[1])},
        "stacks": one.stacks,
        "kernel_said": one.kernel_said,
        "died": one.died or None,
        "refused": one.refused or None,
    }


def _show_bad(one: Runs) -> None:
    if one.hung is not None:
        click.echo(f"hung in round {one.hung[0]}")
    if one.died:
        click.echo(f"died: {one.died}")
    for stack in one.stacks:
        click.echo(f"--- {stack.rstrip()}")
    for line in one.kernel_said:
        click.echo(f"kernel: {line}")


# -- compare -------------------------------------------------------------------------------------


@command.command("compare")
@click.argument("scenarios", nargs=-1)
@_kernel
@click.option(
    "--patch", help="Version of the model; default: the one that a stock kernel of this release is."
)
@click.option("--drawn", type=click.IntRange(min=1), help="So many scenarios drawn at random.")
@click.option(
    "--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first drawn."
)
@click.option("--rounds", type=click.IntRange(min=1), default=40, show_default=True, help="Of each scenario.")
@click.option(
    "--delay", type=click.IntRange(min=0), default=200, show_default=True, help="Longest drawn delay, in us."
)
@_seed
@click.option("--max-seconds", type=SECONDS, help="Wall-clock for the kernel, boots and all.")
@click.option(
    "--model-seconds", type=SECONDS, default=60, show_default=True, help="For each scenario on the model."
)
@_accel
@_json
@click.pass_context
def compare(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    kernel: str,
    patch: str | None,
    drawn: int | None,
    first: int,
    rounds: int,
    delay: int,
    seed: int,
    max_seconds: float | None,
    model_seconds: float,
    accel: str,
    as_json: bool,
) -> None:
    """Run SCENARIOS, or drawn ones, on a kernel and on the model: each outcome of the kernel has to be one of its.

    Exit code 1 if one is not, and the model's set is complete; 2 if the model's search was not complete and does not
    have it, or if nothing could be compared.
    """
    from ..lab.batch import compare_all
    from ..lab.compare import check_comparable
    from ..lab.drawn import drawn as draw
    from ..lab.kernels import find_kernel
    from ..lab.translate import Steering, translate, vm_type_of
    from ..lab.versions import version_of
    from ..scenarios.catalogue import find

    if bool(scenarios) == bool(drawn):
        raise InputError("expected either scenarios or --drawn N")
    with _errors():
        booted = find_kernel(kernel)
        version = patch or version_of(booted)
        chosen = [draw(seed, number) for number in range(first, first + (drawn or 0))] + [
            find(name) for name in scenarios
        ]
        programs: list[Program] = []
        for scenario in chosen:
            workload = scenario.resolve(small=True)
            check_comparable(workload)
            programs.append(translate(workload, vm_type_of(scenario), seed=seed))
        steering = Steering(rounds=rounds, seed=seed, spread_ns=delay * 1000)
        runs, found = compare_all(
            booted, version, chosen, programs, steering,
            machine=_machine(accel, max_seconds), model_seconds=model_seconds, say=_say,
        )  # fmt: skip
    _report(runs, found, version, steering.text(), as_json)
    if runs.interrupted:
        ctx.exit(INTERRUPTED)
    verdicts = {one.verdict for one in found.values()}
    if "differ" in verdicts:
        ctx.exit(VIOLATION)
    if "undecided" in verdicts or not found or verdicts == {"refused"}:
        ctx.exit(UNDECIDED)


def _report(
    runs: KernelRuns, found: Mapping[str, Comparison], version: str, steered: str, as_json: bool
) -> None:
    from collections import Counter

    from ..lab.compare import document, shares

    verdicts = Counter(one.verdict for one in found.values())
    seen, every = shares(found)
    total = sum(one.rounds for one in found.values())
    distinct = sum(len(one.outcomes) for one in found.values())
    if as_json:
        print_json(
            {
                **_about(runs, steered),
                "patch": version,
                "verdicts": dict(verdicts),
                "rounds": total,
                "distinct_outcomes": distinct,
                "seen": seen,
                "of": every,
                "scenarios": [document(name, one) for name, one in found.items()],
            }
        )
        return
    out = console()
    for name, one in found.items():
        if one.verdict == "agree":
            continue
        click.echo(f"{one.verdict}: {name}{f' ({one.note})' if one.note else ''}")
        for text, count in one.alien.items():
            click.echo(f"{count:>7}  {text}")
        if one.alien:
            for text in sorted(one.model.outcomes)[:6]:
                click.echo(f"  model  {text}")
    words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    out.print(
        f"{runs.kernel.release} against {version}: {len(found)} scenarios ({words or 'none'}), {total:,} rounds, "
        f"{distinct} distinct outcomes, {len(runs.boots)} boots, {runs.seconds:.0f} s; {steered}",
        highlight=False,
    )
    if every:
        out.print(
            f"Of the {every} outcomes of the scenarios whose set is complete the kernel came to {seen}.",
            highlight=False,
        )


# -- reproduce -----------------------------------------------------------------------------------


@command.command("reproduce")
@click.argument("finding")
@_kernel
@click.option("--rounds", type=click.IntRange(min=1), help="At most; default: as the scene says.")
@_seed
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, boot and all.")
@_accel
@_json
@click.pass_context
def reproduce(
    ctx: click.Context,
    finding: str,
    kernel: str,
    rounds: int | None,
    seed: int,
    max_seconds: float | None,
    accel: str,
    as_json: bool,
) -> None:
    """Look for a known FINDING on a kernel, and show stacks and what the kernel said.

    Exit code 1 if it was seen, 0 if it was not in all rounds; 2 if that could not be told.
    """
    from ..lab.kernels import find_kernel
    from ..lab.reproduce import document, expected, scene_of, shown
    from ..lab.reproduce import reproduce as look

    with _errors():
        scene = scene_of(finding)
        booted: Kernel = find_kernel(kernel)
        runs = look(scene, booted, rounds=rounds, seed=seed, machine=_machine(accel, max_seconds), say=_say)
    one = runs.runs[0]
    seen = shown(scene, one)
    if as_json:
        print_json(document(scene, booted, runs))
    else:
        known = expected(finding, booted)
        click.echo(
            f"{booted.release}: {finding} {'seen' if seen else 'not seen'} in "
            f"{one.rounds + (one.hung is not None)} rounds, "
            f"{runs.seconds:.0f} s, boot included{f' (known: {known})' if known else ''}"
        )
        _show_bad(one)
    if runs.interrupted:
        ctx.exit(INTERRUPTED)
    if seen:
        ctx.exit(VIOLATION)
    if not one.ended or one.died or one.refused or one.hung is not None:
        raise InputError(
            f"{booted.release}: undecided: {one.refused or one.died or 'it did not come to its end'}"
        )
