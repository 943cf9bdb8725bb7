"""Options that name what is searched, the same for every command that searches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..engine.blame import shown
from .errors import InputError
from .params import COUNT, options, own_operations, own_oracles, without_option
from .run import parse_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..explore.program import ScenarioProgram

program_options = options(
    click.option("--arch", help="VM type; default: the first that the scenario is for."),
    click.option("--release", help="Kernel release around the patch; default: the version's own."),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Of the strategy, and of chunks and times."
    ),
    click.option("--vcpus", type=click.IntRange(min=0), help="Short for --set vcpus=N."),
    click.option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another value of a parameter."
    ),
    click.option("--full", is_flag=True, help="The scenario's full size; default: its [small] values."),
    click.option("--lock", "policy", help="Lock policy in place of the invalidate lock."),
    without_option,
    own_oracles,
    own_operations,
    click.option("--rounds", type=COUNT, help="Rounds of loops that wait for others.  [default: 2]"),
)


def make_program(
    scenario: str,
    patch: str,
    *,
    arch: str | None,
    release: str | None,
    seed: int,
    vcpus: int | None,
    settings: tuple[str, ...],
    full: bool,
    policy: str | None,
    rounds: int | None,
    without: tuple[str, ...] = (),
    oracles: tuple[str, ...] = (),
    operations: tuple[str, ...] = (),
) -> ScenarioProgram:
    """The program that the options ask for, built once to see whether it can be.

    Raises:
        InputError, ScenarioError, PatchError: it cannot.
    """
    import attrs

    from ..engine.strategy import FirstRunnable
    from ..explore.program import ScenarioProgram, read_files
    from ..scenarios.catalogue import find

    read_files(patch, oracles, operations)
    found = find(scenario)
    program = ScenarioProgram(
        scenario=found,
        patch=patch,
        arch=arch,
        vcpus=vcpus,
        seed=seed,
        release=release,
        parameters=parse_settings(found, settings),
        small=not full,
        policy=policy,
        until_rounds=rounds,
        oracles=oracles,
        operations=operations,
        without=parse_rules(without),
    )
    run = program.build(FirstRunnable())
    # With the VM type that was chosen by default, so that reports and tokens name it.
    return attrs.evolve(program, arch=run.session.vm_type)


def parse_rules(given: tuple[str, ...]) -> frozenset[str]:
    """What `--without` names.

    Raises:
        InputError: no such rule, or it cannot be left out.
    """
    from ..oracles.every_rule import UnknownRule, left_out

    try:
        return frozenset().union(*map(left_out, given))
    except UnknownRule as error:
        raise InputError(f"--without: {error}") from None


def describe(program: ScenarioProgram) -> str:
    """What is searched, in one line."""
    from ..arch.registry import described

    size = "small" if program.small else "full size"
    more = "".join(f" {name}={value}" for name, value in (program.parameters or {}).items())
    return f"{program.name}, {' and '.join(map(described, program.vm_types))}, {size}{more}"


@contextmanager
def input_errors() -> Iterator[None]:
    """What a user's patch does wrong while it is searched becomes one line and exit code 2."""
    from ..engine.errors import TapeMismatch
    from ..explore.failure import NotReproduced
    from .running import user_error

    try:
        with user_error():
            yield
    except (TapeMismatch, NotReproduced) as error:
        files = [key for key in sys.modules if key.startswith("gmemsim_user_patch_")]
        if not files:
            raise
        path = shown(str(sys.modules[files[-1]].__file__))
        raise InputError(
            f"{path}: a run with the same choices came to something else: a patch "
            f"keeps what it changes on self or the kernel's objects, and asks no clock and no random numbers ({error})"
        ) from error
