"""How commands end badly: one line on stderr and an exit code."""

from __future__ import annotations

import click

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
