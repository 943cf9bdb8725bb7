"""`gmemsim man`: the manual page, made from the commands."""

from __future__ import annotations

import click

from ..nearest import hint
from .commands import COMMANDS, available
from .errors import Command, InputError


@click.command("man", cls=Command)
@click.argument("name", required=False, metavar="[COMMAND]")
@click.option("--markdown", "as_markdown", is_flag=True, help="Markdown in place of roff.")
def command(name: str | None, as_markdown: bool) -> None:
    """Write the manual page, or that of COMMAND, to stdout."""
    from .group import cli
    from .manual import entries, markdown, roff

    if name is not None and name not in available():
        raise InputError(f"no command {name!r}; {hint(name, available())}")
    found = list(entries(cli, name))
    if as_markdown:
        click.echo(markdown(found), nl=False)
        return
    title = "gmemsim" if name is None else f"gmemsim-{name}"
    about = (cli.help or "").rstrip(".") if name is None else COMMANDS[name].summary.rstrip(".")
    click.echo(roff(title, about, found), nl=False)
