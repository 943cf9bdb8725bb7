"""`gmemsim lab reproduce`: a finding, or the schedule in a token, on a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from .errors import INTERRUPTED, VIOLATION, Command, InputError
from .lab_options import kernel_option, machine, machine_options, say, seed_option, show_bad
from .output import print_json
from .params import COUNT, SECONDS, json_option, token_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..lab.kernels import Kernel
    from ..lab.machine import Machine
    from ..lab.reproduce import Scene
    from ..lab.runs import KernelRuns
    from ..lab.witness import Witness

#: Rounds of a token, unless told otherwise: held ones take seconds each, and are alike.
_HELD, _DRAWN = 10, 3000
#: How a state of a finding is said of a kernel.
_ON: Final = {"confirmed": "confirmed on", "fixed in": "fixed in", "refuted": "refuted for"}


@click.command("reproduce", cls=Command)
@click.argument("what", metavar="FINDING|TOKEN")
@kernel_option
@click.option("--rounds", type=COUNT, help="At most; default: as the scene says, 10 of a token.")
@click.option("--patch", help="Version of the model for a token; default: the one in it.")
@click.option(
    "--arch",
    type=click.Choice(["default", "sw-protected"]),
    help="VM type of a token; default: the one in it.",
)
@click.option(
    "--hold/--no-hold",
    default=True,
    show_default=True,
    help="Tasks of a token are held by QEMU's debugger stub as in the schedule, or only delayed at random.",
)
@seed_option
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, boot and all.")
@machine_options
@json_option
@click.pass_context
def reproduce(
    ctx: click.Context,
    what: str,
    kernel: str,
    rounds: int | None,
    patch: str | None,
    arch: str | None,
    hold: bool,
    seed: int,
    max_seconds: float | None,
    accel: str,
    front: str,
    as_json: bool,
) -> None:
    """Look for a known FINDING on a kernel, or for the failure of a TOKEN (gm1:..., or @FILE that holds one).

    A finding is looked for with drawn delays. Of a token each task is a thread on a CPU of its own, which is held where
    the failing schedule leaves it: before a call, or at the entry of a kernel function. Stacks and what the kernel said
    are shown. Exit code 1 if it was seen, 0 if it was not in all rounds; 2 if that could not be told.
    """
    from ..lab.kernels import find_kernel
    from ..lab.reproduce import scene_of

    if not what.startswith(("gm1:", "@")):
        scene = scene_of(what)
        _finding(ctx, scene, find_kernel(kernel), rounds, seed, machine(accel, front, max_seconds), as_json)
        return
    booted = find_kernel(kernel)
    from ..lab.reproduce import reproduce_witness, witness_document
    from ..lab.witness import read_witness

    witness = read_witness(token_text(what), patch=patch, vm_type=arch)
    runs = reproduce_witness(
        witness, booted, rounds=rounds or (_HELD if hold else _DRAWN), hold=hold, seed=seed,
        machine=machine(accel, front, max_seconds), say=say,
    )  # fmt: skip
    found = witness_document(witness, runs)
    if as_json:
        print_json(found)
    else:
        _show_witness(witness, runs, found)
    _exit(ctx, booted, runs, seen=bool(found["shown"]), told=bool(found["telling"]))


def _finding(
    ctx: click.Context,
    scene: Scene,
    booted: Kernel,
    rounds: int | None,
    seed: int,
    wanted: Machine,
    as_json: bool,
) -> None:
    from ..lab.reproduce import document, expected, shown
    from ..lab.reproduce import reproduce as look

    runs = look(scene, booted, rounds=rounds, seed=seed, machine=wanted, say=say)
    one = runs.runs[0]
    seen = shown(scene, one)
    if as_json:
        print_json(document(scene, booted, runs))
    else:
        known = expected(scene.finding, booted)
        click.echo(
            f"{booted.release}: {scene.finding} {'seen' if seen else 'not seen'} in "
            f"{one.rounds + (one.hung is not None)} rounds, "
            f"{runs.seconds:.0f} s, boot included{f' (known: {_ON[known]} this kernel)' if known else ''}"
        )
        show_bad(one)
    _exit(ctx, booted, runs, seen=seen, told=True)


def _show_witness(witness: Witness, runs: KernelRuns, found: Mapping[str, object]) -> None:
    from ..lab.reproduce import followed

    one = runs.runs[0]
    click.echo(f"{witness.rule} on {witness.version}: {witness.summary}")
    plan = followed(witness, runs)
    if runs.holders:
        click.echo("held by QEMU's debugger stub, one CPU a task, the kernel's code unchanged:")
        for number, block in enumerate(plan.blocks, 1):
            click.echo(f"  {number}. {block.text()}")
    for holder in runs.holders:
        if plan.lost:
            click.echo(f"  {plan.lost} left out: this kernel does not call {', '.join(holder.missing)} there")
        count = sum(count > 0 for count in holder.followed.values())
        if witness.others:
            click.echo(
                f"  the last of {count} schedules; that of the token leaves a task where no function begins, "
                f"{witness.others} others that fail alike were looked at"
            )
        whole = sum(reached == of for reached, of in holder.reached)
        click.echo(f"  {whole} of {len(holder.reached)} rounds went as in the schedule to their end")
        if holder.error:
            click.echo(f"  given up: {holder.error}")
    shown = found["shown"]
    words = "; ".join(shown) if isinstance(shown, list) and shown else "not seen"
    click.echo(
        f"{runs.kernel.release}: {words}; {one.rounds + (one.hung is not None)} rounds, {runs.seconds:.0f} s, "
        "boot included"
    )
    if not plan.hangs and not plan.telling:
        click.echo(
            "Sound schedules come to the results of this one too, so only a hang or a warning would show it: "
            f"{plan.outcome}"
        )
    show_bad(one)


def _exit(ctx: click.Context, booted: Kernel, runs: KernelRuns, *, seen: bool, told: bool) -> None:
    one = runs.runs[0]
    if runs.interrupted:
        say("interrupted")
        ctx.exit(INTERRUPTED)
    if seen:
        ctx.exit(VIOLATION)
    if not one.ended or one.died or one.refused or one.hung is not None:
        raise InputError(
            f"{booted.release}: undecided: {one.refused or one.died or 'it did not come to its end'}"
        )
    if not told:
        raise InputError(f"{booted.release}: undecided: nothing on a kernel would show it but a warning")
