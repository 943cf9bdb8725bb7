"""`gmemsim query`: a log asked with SQL."""

from __future__ import annotations

from pathlib import Path

import click

from ..nearest import hint
from .errors import Command, InputError
from .output import console, print_json, progress, table
from .output_files import check_writable
from .params import COUNT, FILE, own_events, read_events


@click.command("query", cls=Command)
@click.argument("log", type=click.Path(path_type=Path), required=False)
@click.argument("sql", required=False)
@click.option("--list", "show_ready", is_flag=True, help="Name the ready-made queries and the tables.")
@click.option("--parquet", type=FILE, help="Write the answer as Parquet, too.")
@click.option("--salvage", is_flag=True, help="Take a log that breaks off up to its last whole line.")
@click.option("--most", type=COUNT, default=40, show_default=True, help="Rows to show.")
@own_events
@click.option("--json", "as_json", is_flag=True, help="One JSON document: a list of objects.")
def command(
    log: Path | None,
    sql: str | None,
    show_ready: bool,
    parquet: Path | None,
    salvage: bool,
    most: int,
    events: tuple[str, ...],
    as_json: bool,
) -> None:
    """Ask LOG with SQL, a statement or the name of a ready-made query (`--list`).

    Tables: events, holds, waits, faults. Needs DuckDB: pip install 'gmemsim[query]'.
    """
    from ..audit import query

    if show_ready:
        _list()
        return
    if log is None or sql is None:
        raise InputError("expected a LOG and SQL, or --list")
    if sql.isidentifier() and sql not in query.READY:
        raise InputError(f"no ready-made query {sql!r}; {hint(sql, query.READY)}")
    check_writable(parquet, inputs=(str(log), *events))
    read_events(events)
    with progress(f"{log} …"):
        answer = query.ask(log, sql, parquet=parquet, partial=salvage)
    if answer.broken_off is not None:
        click.echo(f"{log}: breaks off after {answer.broken_off:,} events; asked up to there", err=True)
    if as_json:
        print_json([dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows])
        return
    rows = (["" if value is None else str(value) for value in row] for row in answer.rows[:most])
    out = console()
    out.print(table(None, answer.columns, rows))
    if len(answer.rows) > most:
        out.print(f"… and {len(answer.rows) - most:,} more rows (--most).")


def _plain(value: object) -> object:
    """What JSON can hold."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _list() -> None:
    from ..audit.query import READY

    rows = ((name, shows, sql) for name, (shows, sql) in READY.items())
    console().print(table(None, ("query", "shows", "SQL"), rows))
