"""What the commands of `gmemsim lab` share: options, the machine, what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .params import options

if TYPE_CHECKING:
    from ..lab.machine import Machine
    from ..lab.runs import KernelRuns, Runs

kernel_option = click.option(
    "--kernel", required=True, help="Release of a fetched kernel (7.3.4), or PATH of a vmlinuz."
)
seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help="Of delays and of what is drawn."
)
delay_option = click.option(
    "--delay", type=click.IntRange(min=0), default=200, show_default=True, help="Longest drawn delay, in us."
)
machine_options = options(
    click.option(
        "--accel",
        type=click.Choice(["tcg", "kvm"]),
        default="tcg",
        show_default=True,
        help="Accelerator of QEMU.",
    ),
    click.option(
        "--front",
        # FRONTS of lab.fronts, which --help has no time to import.
        type=click.Choice(["auto", "virtme-ng", "initramfs"]),
        default="auto",
        show_default=True,
        help="What the kernel is booted with; auto: virtme-ng where it is installed, else a small initramfs.",
    ),
)


def say(text: str) -> None:
    click.echo(text, err=True)


def machine(accel: str, front: str, seconds: float | None) -> Machine:
    from ..lab.machine import Machine

    return Machine(accel=accel, front=front, seconds=seconds or 0)


def about(runs: KernelRuns, steered: str) -> dict[str, Any]:
    return {
        "kernel": runs.kernel.release,
        "about": runs.about,
        "front": runs.front,
        "boots": runs.boots,
        "seconds": round(runs.seconds, 1),
        "steered": steered,
        "interrupted": runs.interrupted,
    }


def show_bad(one: Runs) -> None:
    """What went wrong in a run: where, stacks, the kernel's words."""
    if one.hung is not None:
        click.echo(f"hung in round {one.hung[0]}")
    if one.died:
        click.echo(f"died: {one.died}")
    for stack in one.stacks:
        click.echo(f"--- {stack.rstrip()}")
    for line in one.kernel_said:
        click.echo(f"kernel: {line}")
