"""`gmemsim lab`: scenarios on real kernels, in QEMU, and what came of them against the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import INTERRUPTED, VIOLATION, Group, InputError
from .lab_compare import again, compare
from .lab_options import (
    about,
    delay_option,
    kernel_option,
    machine,
    machine_options,
    say,
    seed_option,
    show_bad,
)
from .lab_reproduce import reproduce
from .lab_vectors import vectors
from .output import print_json
from .params import COUNT, SECONDS, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..lab.runs import Runs


@click.group("lab", cls=Group)
def command() -> None:
    """Run scenarios on real kernels in QEMU, and hold what came of them against the model.

    Needs QEMU, a C compiler and kernels: see `gmemsim lab setup`. No KVM is needed: QEMU emulates nested SVM.
    """


# -- setup ---------------------------------------------------------------------------------------


@command.command("setup")
@click.option("--install", is_flag=True, help="Install missing tools with apt-get, which needs root.")
@click.option(
    "--fetch", "wanted", multiple=True, metavar="RELEASE", help="Fetch this stock kernel of Debian's."
)
@json_option
def setup(install: bool, wanted: tuple[str, ...], as_json: bool) -> None:
    """Say what is there and what is missing; fetch kernels.

    Kernels are unpacked into $XDG_CACHE_HOME/gmemsim/lab and not installed. Exit code 2 if something is missing.
    """
    from ..lab.fetch import TOOLS, fetch, missing_tools
    from ..lab.fetch import install as install_tools
    from ..lab.fronts import virtme_missing, virtme_name
    from ..lab.image import build_runner
    from ..lab.kernels import cache_folder, fetched_kernels

    if install:
        install_tools(say)
    for release in wanted:
        fetch(release, say)
    missing = missing_tools()
    kernels = fetched_kernels()
    no_virtme = virtme_missing()
    runner = "" if any(tool.program == "gcc" for tool in missing) else str(build_runner())
    if as_json:
        print_json(
            {
                "missing": [tool.package for tool in missing],
                "kernels": {kernel.release: str(kernel.vmlinuz) for kernel in kernels},
                "front": "initramfs" if no_virtme else virtme_name(),
                "runner": runner or None,
                "cache": str(cache_folder()),
            }
        )
    else:
        for tool in TOOLS:
            click.echo(f"{tool.program}: {'missing' if tool in missing else 'there'} ({tool.use})")
        click.echo(
            f"{virtme_name()}: "
            + (f"kernels are booted with an initramfs: {no_virtme}" if no_virtme else "there")
        )
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
@kernel_option
@click.option(
    "--arch", type=click.Choice(["default", "sw-protected"]), help="VM type; default: the first that fits."
)
@click.option("--rounds", type=COUNT, default=100, show_default=True, help="Each in a VM of its own.")
@delay_option
@seed_option
@click.option("--full", is_flag=True, help="The scenario's full size; default: its [small] values.")
@click.option(
    "--trace", "trace", type=click.Path(path_type=Path), metavar="FOLDER", help="Record ftrace text here."
)
@click.option(
    "--madvise", is_flag=True, help="Memory errors by MADV_HWPOISON, which faults the page in first."
)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, boot and all.")
@machine_options
@json_option
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
    front: str,
    as_json: bool,
) -> None:
    """Run SCENARIO on a kernel: results of every operation, what each file holds after it, and how often.

    With --trace, each round's events as `gmemsim follow` reads them. Exit code 1 if a round hung or the kernel died, 2
    if a stock kernel cannot do what the scenario asks for; what it cannot do is named.
    """
    from ..lab.compare import kernel_outcome
    from ..lab.kernels import find_kernel
    from ..lab.probes import probe_text
    from ..lab.recording import check_folder, write_recordings
    from ..lab.refusals import vm_type_of
    from ..lab.runs import run_programs
    from ..lab.translate import Steering, translate
    from ..scenarios.catalogue import find

    found = find(scenario)
    vm_type = arch or vm_type_of(found)
    program = translate(found.resolve(small=not full), vm_type, seed=seed, madvise=madvise)
    steering = Steering(
        rounds=rounds, seed=seed, spread_ns=delay * 1000, trace=trace is not None, each=trace is not None,
        madvise=madvise,
    )  # fmt: skip
    if trace is not None:
        check_folder(trace)
    runs = run_programs(
        find_kernel(kernel), [program], steering,
        machine=machine(accel, front, max_seconds), probes=probe_text() if trace else "", say=say,
    )  # fmt: skip
    one = runs.runs[0]
    outcomes: dict[str, int] = {}
    for result, count in one.results.items():
        text = kernel_outcome(result, program)
        outcomes[text] = outcomes.get(text, 0) + count
    if as_json:
        print_json({**about(runs, steering.text()), **_run_document(one, outcomes)})
    else:
        click.echo(
            f"{runs.kernel.release} with {runs.front}: {one.rounds} rounds, {len(outcomes)} outcomes; {steering.text()}"
        )
        for text, count in sorted(outcomes.items(), key=lambda item: -item[1]):
            click.echo(f"{count:>7}  {text}")
        show_bad(one)
    if trace is not None:
        write_recordings(trace, runs, vm_type)
    if runs.interrupted:
        say("interrupted")
        ctx.exit(INTERRUPTED)
    if one.hung is not None or one.died:
        ctx.exit(VIOLATION)
    if one.refused or not one.rounds:
        raise InputError(f"{runs.kernel.release}: {one.refused or 'no round came to its end'}")


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


command.add_command(compare)
command.add_command(again)
command.add_command(reproduce)
command.add_command(vectors)
