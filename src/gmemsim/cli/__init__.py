"""The command line: one module a command, imported when the command is used.

To add a command, write `cli/NAME.py` with a click command called `command`, and list it in `commands.COMMANDS`.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of `gmemsim`."""
    import signal

    from .errors import INTERRUPTED
    from .group import cli

    try:
        cli(prog_name="gmemsim")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # One Ctrl-C is enough: a second one must not meet the interpreter while it shuts down.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
