"""`gmemsim findings`: what versions of guest_memfd get wrong, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from . import mends
from .asking import ask
from .errors import Command, InputError
from .output import console, print_json
from .params import COUNT, SECONDS, json_option

if TYPE_CHECKING:
    from ..explore.findings.finding import Finding


#: Where a value comes from that nobody gave on this command line.
_NOT_GIVEN: Final = (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


@click.command("findings", cls=Command)
@click.argument("ident", required=False, metavar="[ID]")
@click.option(
    "--mends",
    "with_mends",
    is_flag=True,
    help="Search its candidate mends, and say what each breaks and changes.",
)
@click.option(
    "--patch",
    "version",
    help="With --mends: a version that has it.  [default: the newest release that does, else a series]",
)
@click.option("--states", type=COUNT, default=100_000, show_default=True, help="Of a search, with --mends.")
@click.option(
    "--seconds", type=SECONDS, default=120, show_default=True, help="Wall-clock, of a search, with --mends."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    ident: str | None,
    with_mends: bool,
    version: str | None,
    states: int,
    seconds: float,
    as_json: bool,
) -> None:
    """List the findings, or show the one with this ID whole, or what its candidate mends come to.

    A failure that `explore`, `replay`, `stress` and the others meet is called known if it is one of these on a version
    that has it. A state speaks of kernels; `versions` are those of the model.

    Exit code with --mends 0: every search met the finding or looked at every state; 2: one was cut short before that,
    so that it is no answer.
    """
    from ..explore.findings.table import FINDINGS
    from ..studies.mends.unjudged import as_dict

    if with_mends and ident is None:
        raise InputError("--mends: of which finding? gmemsim findings ID --mends")
    for name, option in (("version", "--patch"), ("states", "--states"), ("seconds", "--seconds")):
        if not with_mends and ctx.get_parameter_source(name) not in _NOT_GIVEN:
            raise InputError(f"{option} goes with --mends")
    if ident is None:
        if as_json:
            print_json([as_dict(one) for one in FINDINGS.values()])
        else:
            _list(list(FINDINGS.values()))
        return
    found = FINDINGS.get(ident)
    if found is None:
        raise InputError(f"no finding {ident!r}; {_nearest(ident, list(FINDINGS))}")
    if with_mends:
        from ..studies.study import Plan

        code = ask(
            "mends",
            Plan(states=states, seconds=seconds),
            entries=(ident,),
            patches=(version,) if version else (),
            document=lambda survey: mends.document(survey)[0],
            show=mends.show,
            as_json=as_json,
        )
        if code:
            ctx.exit(code)
    elif as_json:
        print_json(as_dict(found))
    else:
        _show(found)


def _nearest(ident: str, names: list[str]) -> str:
    from difflib import SequenceMatcher, get_close_matches

    # A part of a name is what people type; else whatever looks most like it.
    close = [name for name in names if ident and ident in name][:3] or get_close_matches(ident, names, 3)
    if not close:
        close = sorted(names, key=lambda name: -SequenceMatcher(None, ident, name).ratio())[:3]
    return f"did you mean {' or '.join(close)}?"


def _list(found: list[Finding]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("finding", "state", "title"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "finding")
    for one in found:
        table.add_row(one.ident, one.state, one.title)
    console().print(table)


def _show(one: Finding) -> None:
    from textwrap import wrap

    from ..studies.mends.unjudged import UNJUDGED, shown_on, versions_of

    out = console()

    def line(head: str, text: str) -> None:
        for part in wrap(
            f"{head}: {text}",
            out.width,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        ):
            click.echo(part)

    click.echo(one.ident)
    line("title", one.title)
    line("effect", one.effect)
    for state in one.states:
        line("state", state.text() + (f" ({state.why})" if state.why else ""))
    there = ", ".join(_on(one, version) for version in versions_of(one))
    line("versions", there + ("; none breaks a rule of the model by it" if one.ident in UNJUDGED else ""))
    if one.vm_types:
        line("VM types", ", ".join(one.vm_types))
    line("reported", one.reported or "we know of no report")
    for pattern in one.patterns:
        line("known by", pattern.text())
    for shown in one.shown:
        shows = [name for name in one.versions if name in (shown.versions or one.versions)]
        version = next((name for name in shows if name not in one.releases), shows[0])
        release = f" --release {one.release_on(version)}" if version in one.releases else ""
        click.echo(
            f"see it: gmemsim explore {shown.scenario} --patch {version}{release} --arch {shown.vm_type} "
            f"--strategy {shown.strategy}"
        )
    if one.ident in UNJUDGED and any(shown_on(one, version) for version in versions_of(one)):
        # Only a search with the observer of its sign tells it.
        click.echo(f"see it: gmemsim findings {one.ident} --mends")
    if one.reproducer:
        line("reproducer", f"reproducers/{one.reproducer}.c in the repository")
    line("page", one.page)


def _on(one: Finding, version: str) -> str:
    releases = one.releases.get(version)
    return version if releases is None else f"{version} (release {', '.join(releases)})"
