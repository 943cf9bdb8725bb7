"""The click group: commands are imported on demand, and every failure is one line."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from .. import __version__
from ..audit.bounded import clean
from ..engine.blame import said
from ..nearest import hint
from .command_help import WIDEST, prepare
from .commands import COMMANDS, available
from .config import defaults
from .encoding import drop_output
from .errors import INPUT, INTERRUPTED, Interrupted


class LazyGroup(click.Group):
    """A group whose commands are modules that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return available()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in available():
            return None
        module = import_module(f"{__package__}.{COMMANDS[cmd_name].module}")
        command: click.Command = module.command
        prepare(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown command is answered with those that there are."""
        if args and not args[0].startswith("-") and args[0] not in available():
            ctx.fail(f"no command {args[0]!r}; {hint(args[0], available())}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that `--help` imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in available()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if os.environ.get("GMEMSIM_TRACEBACK"):
                traceback.print_exc()
            raise Interrupted from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run and exit: 0 fine, 1 a violation, 2 bad usage or input, 130 interrupted."""
        # Told with the result (`engine.unawaited`), and not for each run that was cut short.
        warnings.filterwarnings("ignore", message="coroutine '.*' was never awaited", category=RuntimeWarning)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except click.ClickException as error:
            fail(_where(error), error.format_message(), max(error.exit_code, INPUT))
        except (click.Abort, KeyboardInterrupt):
            fail("gmemsim", "interrupted", INTERRUPTED)
        except OSError as error:
            drop_output()
            where = "cannot write the output" if error.filename is None else error.filename
            fail("gmemsim", f"{where}: {error.strerror or error}", INPUT)
        except MemoryError:
            fail("gmemsim", "out of memory: a smaller workload or limit may fit", INPUT)
        except Exception as error:
            if os.environ.get("GMEMSIM_TRACEBACK"):
                traceback.print_exc()
            place = traceback.extract_tb(error.__traceback__)[-1]
            fail(
                "gmemsim",
                f"internal error, please report it: {said(error)} ({place.filename}:{place.lineno}; "
                "GMEMSIM_TRACEBACK=1 shows more)",
                INPUT,
            )
        except BaseException as error:
            # Neither an exit nor anything else that is no Exception may pass for an answer.
            fail("gmemsim", f"ended by {said(error)}", INPUT)
        sys.exit(code if isinstance(code, int) else 0)


def _where(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None) or click.get_current_context(silent=True)
    return "gmemsim" if ctx is None else ctx.command_path


def fail(where: str, message: str, code: int) -> NoReturn:
    """One line on stderr, and exit."""
    print(f"{where}: {clean(message, 2_000)}", file=sys.stderr)
    sys.exit(code)


@click.group(
    cls=LazyGroup,
    name="gmemsim",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """An executable model of Linux KVM guest_memfd under concurrency."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    else:
        ctx.default_map = defaults(ctx)
