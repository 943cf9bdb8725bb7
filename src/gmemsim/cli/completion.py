"""`gmemsim completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .errors import Command


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Write the completion of SHELL to stdout.

    Commands, options, and the names of scenarios, versions, rules, findings, VM types, releases, strategies and bugs.
    """
    from .group import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "gmemsim", "_GMEMSIM_COMPLETE").source())
