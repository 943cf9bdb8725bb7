"""Options and arguments that several commands have: their types, and what they are read with."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .errors import InputError


class _Seconds(click.FloatRange):
    """Not negative, and a number: comparisons with NaN are all false, so a limit of that would be none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return found


#: Wall-clock time; how many of something; a file to write.
SECONDS = _Seconds(min=0)
COUNT = click.IntRange(min=1)
FILE = click.Path(dir_okay=False, path_type=Path)


def known_strategy(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """The callback of `--strategy`, which may be given once or several times."""
    from ..explore.strategies import make_strategy

    for name in value if isinstance(value, tuple) else (value,):
        try:
            make_strategy(name, 0)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--strategy") from None
    return value


def options(*each: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several as one, in the order in which `--help` shows them."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(each):
            command = option(command)
        return command

    return add


def read_events(names: tuple[str, ...]) -> None:
    """Have logs read that hold events of users' files.

    Raises:
        PatchError: no such file or class.
    """
    from ..audit.base import Event
    from ..patches.user_file import class_in

    for name in names:
        class_in(name, Event, "no event", "derive it from gmemsim.extend.Event")


#: The option of commands that read logs.
own_events = click.option(
    "--event",
    "events",
    multiple=True,
    metavar="FILE:CLASS",
    help="A file of yours whose events the log holds (gmemsim.extend.Event).",
)

#: Options of commands that search states.
search_jobs = click.option(
    "--jobs",
    type=COUNT,
    default=1,
    show_default=True,
    help="Processes; of `dfs`, `dpor`, `stateful:1` and `:2`, and strategies with a bound there is one.",
)
max_states = click.option(
    "--max-states",
    type=click.IntRange(min=1),
    help="Different states to look at; with `auto`, before it samples.  [default: 20,000 with `auto`, else no limit]",
)


def schedule_limit(ctx: click.Context, strategy: str, schedules: int) -> int | None:
    """`--max-schedules`; for a search of states it is no limit unless somebody gave it."""
    given = ctx.get_parameter_source("max_schedules") is not click.core.ParameterSource.DEFAULT
    return schedules if given or strategy.partition(":")[0] != "stateful" else None


own_oracles = click.option(
    "--oracle",
    "oracles",
    multiple=True,
    metavar="FILE:CLASS",
    help="Rules of your own, looked after as well (gmemsim.extend.Oracle).",
)
own_operations = click.option(
    "--operation",
    "operations",
    multiple=True,
    metavar="FILE:CLASS",
    help="A file whose operations the scenario uses; those of --patch and --oracle are known.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")

without_option = click.option(
    "--without",
    multiple=True,
    metavar="RULE[,RULE]",
    help="Rules not to look after; see `gmemsim list rules`.",
)


def token_text(given: str) -> str:
    """A token, or what the file @FILE holds.

    Raises:
        InputError: it cannot be read.
    """
    if not given.startswith("@"):
        return given
    from ..audit.bounded import read_bounded
    from ..explore.token import LONGEST

    path = Path(given[1:])
    try:
        return read_bounded(path, LONGEST).decode().strip()
    except (OSError, ValueError):
        raise InputError(f"{path}: cannot be read; expected a file that holds a token") from None
