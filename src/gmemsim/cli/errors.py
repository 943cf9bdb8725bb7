"""How commands end: exit codes, and bad input as one line on stderr."""

from __future__ import annotations

from typing import Any

import click

from ..bad_input import BadInput

#: Exit codes.
VIOLATION = 1
INPUT = 2
#: Neither yes nor no: something was not looked at to its end.
UNDECIDED = 2
INTERRUPTED = 130


class InputError(click.ClickException):
    """Bad usage or bad input."""

    exit_code = INPUT

    def __init__(self, message: str) -> None:
        super().__init__(message)
        # Kept, because the context is gone by the time the message is written.
        self.ctx = click.get_current_context(silent=True)


class Interrupted(click.ClickException):
    """The user pressed Ctrl-C."""

    exit_code = INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted")


class Command(click.Command):
    """A command; whatever below it says that the input is bad, it says so in one line and ends with `INPUT`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BadInput as error:
            raise InputError(str(error)) from None


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
