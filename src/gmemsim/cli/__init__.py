"""The command line: one module a command, imported when the command is used.

To add a command, write `cli/NAME.py` with an `errors.Command` called `command`, and list it in `commands.COMMANDS`.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of `gmemsim`."""
    import signal
    import sys

    from .errors import INPUT, INTERRUPTED

    try:
        from ..engine.interrupts import listen
        from .encoding import any_text
        from .group import cli, fail

        listen()
        any_text()
        if sys.stdout is None:
            fail("gmemsim", "standard output is closed", INPUT)
        cli(prog_name="gmemsim")
    except KeyboardInterrupt:
        # Before there was anything to keep.
        print("gmemsim: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # One Ctrl-C is enough: a second one must not meet the interpreter while it shuts down.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
