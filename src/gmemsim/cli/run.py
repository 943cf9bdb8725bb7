"""`gmemsim run`: one timed run of a scenario."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .costs import TABLES
from .errors import INTERRUPTED, VIOLATION, Command, InputError
from .output import print_json, progress
from .output_files import check_writable
from .params import FILE, json_option, own_operations, own_oracles

if TYPE_CHECKING:
    from ..patches.entered import Entered
    from ..scenarios.scenario import Scenario
    from ..scenarios.session import Session


@click.command("run", cls=Command)
@click.argument("scenario")
@click.option("--patch", default="v3", show_default=True, help="Patch version, or path/to/file.py:Class.")
@click.option("--arch", help="VM type; default: the first that the scenario is for.")
@click.option("--release", help="Kernel release around the patch; default: the version's own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of chunks, times and draws.")
@click.option("--vcpus", type=click.IntRange(min=0), help="Short for --set vcpus=N.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another value of a parameter.")
@click.option("--small", is_flag=True, help="Start from the scenario's [small] values.")
@click.option("--runtime", type=click.Choice(["trio", "bare"]), default="bare", show_default=True)
@click.option("--lock", "policy", help="Lock policy in place of the invalidate lock.")
@click.option("--costs", help=f"Cost table: {TABLES}.  [default: generic, of a plain VM]")
@click.option("--log", type=FILE, help="Write the audit log (.jsonl[.zst]).")
@click.option("--check/--no-check", default=True, help="Let the oracles look on.  [default: check]")
@own_oracles
@own_operations
@click.option("--limit", default="10s", show_default=True, help="Give up after so much virtual time.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    scenario: str,
    patch: str,
    arch: str | None,
    release: str | None,
    seed: int,
    vcpus: int | None,
    settings: tuple[str, ...],
    small: bool,
    runtime: str,
    policy: str | None,
    costs: str | None,
    log: Path | None,
    check: bool,
    oracles: tuple[str, ...],
    operations: tuple[str, ...],
    limit: str,
    as_json: bool,
) -> None:
    """Run SCENARIO, a name of the library or a .toml file, once.

    Shows how faults and operations ended and what the locks cost. Exit code 1 if something was found that must
    not happen, or if --limit ended it.
    """
    from ..arch.cost_file import load_costs
    from ..explore.program import read_files
    from ..oracles import Oracles
    from ..oracles.own import adopted, checks_by_name
    from ..patches.entered import Entered, fault_point, watch_overrides
    from ..scenarios.catalogue import comes_with_us, find
    from ..scenarios.options import Options
    from ..scenarios.own import operations_in
    from ..scenarios.session import build, finish
    from ..scenarios.units import duration
    from .running import Log, user_error

    try:
        # A number is ns, as in a scenario.
        ceiling = duration(int(limit) if limit.isdecimal() else limit).high
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--limit") from None
    interrupted = False
    session: Session | None = None
    entered = Entered(())
    try:
        check_writable(log, inputs=(scenario, patch, *oracles, *operations))
        if oracles and not check:
            raise InputError("--oracle looks on, and --no-check has nobody look on: give one of them")
        read_files(patch, oracles, operations)
        own = adopted(oracles)
        found = find(scenario)
        log_to = None if log is None else Log(log)
        options = Options(
            rec=None if log_to is None else log_to.rec,
            checker=(lambda world, kernel: Oracles(world, kernel, collect=True, own=own)) if check else None,
            policy=policy,
            keep_results=False,
            max_virtual_ns=ceiling,
        )
        with ExitStack() as stack, user_error(patch):
            stack.enter_context(progress(f"{found.name} on {patch} …"))
            session = build(
                found,
                patch,
                arch,
                vcpus=vcpus,
                seed=seed,
                release=release,
                costs=None if costs is None else load_costs(costs),
                parameters=parse_settings(found, settings),
                small=small,
                options=options,
            )
            if log_to is not None:
                stack.enter_context(log_to.of(session))
            steps = operations_in(found.source.raw, operations)
            faults = () if comes_with_us(found) else map(fault_point, session.workload.faults)
            also = (*checks_by_name(own), *(each.__name__ for each in steps), *faults)
            entered = stack.enter_context(watch_overrides(session.patch, also=also))
            finish(session, "trio" if runtime == "trio" else "bare")
    except KeyboardInterrupt:
        if session is None:
            raise
        # What it came to so far is told; a log appears whole or not at all.
        interrupted = True
    assert session is not None
    _tell(session, entered, interrupted, as_json)
    if interrupted:
        click.echo("gmemsim: interrupted", err=True)
        ctx.exit(INTERRUPTED)
    if session.violations:
        ctx.exit(VIOLATION)


def _tell(session: Session, entered: Entered, interrupted: bool, as_json: bool) -> None:
    from ..engine.interrupts import deaf
    from ..patches.entered import never_ran
    from .report import report

    if as_json:
        more = {
            "never_ran": list(entered.never),
            "errnos": sorted(entered.errnos),
            "interrupted": interrupted,
        }
        print_json(session.summary().as_dict() | more)
        return
    with deaf():
        report(session)
        if interrupted:
            click.echo("interrupted: this is what the run came to so far")
        elif entered.never:
            click.echo(never_ran(entered.never, "this run"))
        for line in sorted(entered.errnos):
            click.echo(line)


def parse_settings(scenario: Scenario, settings: tuple[str, ...]) -> dict[str, int | str | bool]:
    """The values of `--set`, each of the type that the parameter has.

    Raises:
        InputError: not NAME=VALUE, or not a value of that type. Unknown names are left to the scenario.
    """
    values: dict[str, int | str | bool] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise InputError(f"--set {setting}: expected NAME=VALUE")
        default = scenario.parameters.get(name, "")
        if isinstance(default, bool):
            if text not in ("true", "false"):
                raise InputError(f"--set {setting}: expected true or false")
            values[name] = text == "true"
        elif isinstance(default, int):
            try:
                values[name] = int(text, 0)
            except ValueError:
                raise InputError(f"--set {setting}: expected a number") from None
        else:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InputError(f"--set {setting}: not a text in UTF-8") from None
            values[name] = text
    return values
