"""`gmemsim study`: fixed tables of questions, all asked in the same way."""

from __future__ import annotations

from copy import copy
from typing import Final

import click

from . import hazards, litmus, matrix, mends, zoo
from .errors import Group
from .output import console, print_json

#: What each asks, in the order of the list.
_SAYS: Final = {
    "zoo": "Is each seeded bug found, and is its version clean without it?",
    "hazards": "What comes of what was feared and debated?",
    "litmus": "Are the answers to named questions about small workloads those that are expected?",
    "pairs": "Do two operations that meet on a page break a rule?",
    "triples": "Do three?",
    "quadruples": "Do four?",
    "library": "Does a scenario of the library break a rule on a version as it is?",
    "mends": "Which candidate mends end a finding, and what do they break?",
}


@click.group("study", cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="The list as one JSON document.")
@click.pass_context
def command(ctx: click.Context, /, as_json: bool) -> None:
    """Ask a study: a table of entries, each asked of versions on VM types. Without a name: which studies there are.

    `--cells 20` asks a sample, `--state FILE` goes on where it was stopped.
    """
    if ctx.invoked_subcommand is not None:
        return
    from rich.table import Table

    from ..studies.registry import STUDIES

    rows = [(name, len(study.entries()), _SAYS[name]) for name, study in STUDIES.items()]
    if as_json:
        print_json([{"name": name, "entries": entries, "question": says} for name, entries, says in rows])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("study", "entries", "what is asked"):
        table.add_column(heading, justify="right" if heading == "entries" else "left", overflow="fold")
    for name, entries, says in rows:
        table.add_row(name, f"{entries:,}", says)
    console().print(table)


for _one in (
    *(zoo.command, hazards.command, litmus.command),
    *(matrix.pairs, matrix.triples, matrix.quadruples, matrix.library, mends.command),
):
    # A copy, since each has its own examples.
    _mine = copy(_one)
    _mine.epilog = None
    _mine.short_help = _SAYS[str(_one.name)]
    command.add_command(_mine)
