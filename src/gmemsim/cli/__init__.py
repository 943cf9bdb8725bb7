"""The command line: one module a command, imported when the command is used.

To add a command, write `cli/NAME.py` with a click command called `command`, and list it in `commands.COMMANDS`.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of `gmemsim`."""
    from .group import cli

    cli(prog_name="gmemsim")
