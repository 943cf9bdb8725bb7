"""`gmemsim bench costs`: a cost table with its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from .errors import Command, InputError
from .output import console, print_json
from .params import json_option

if TYPE_CHECKING:
    pass

#: For help texts; `arch/cost_file.py` has the list.
TABLES: Final = "generic, full, milan, genoa, sapphire-rapids, FILE.toml"


@click.command("costs", cls=Command)
@click.option("--costs", "name", default="generic", show_default=True, help=f"Cost table: {TABLES}.")
@click.option("--arch", default="snp", show_default=True, help="VM type.")
@json_option
def costs(name: str, arch: str, as_json: bool) -> None:
    """A cost table: virtual ns of every step, the range that sources allow, where it is from, how sure it is.

    Confidence: A published measurement, B derived from one, C local or informal, D other, E estimate.
    """
    from rich.table import Table

    from ..arch.cost_file import load_costs
    from ..arch.platform_costs import uncharged
    from ..arch.registry import ARCHES
    from ..nearest import hint

    table = load_costs(name)
    if arch not in ARCHES:
        raise InputError(f"--arch {arch}: {hint(arch, ARCHES)}")
    rows = table.rows(arch)
    missing = uncharged(table.table(arch))
    if as_json:
        entries: dict[str, Any] = {
            entry: {
                "value": value,
                "low": why.low,
                "high": why.high,
                "source": why.source,
                "confidence": why.confidence,
            }
            for entry, value, why in rows
        }
        print_json({"name": table.name, "title": table.title, "costs": entries, "not_charged": missing})
        return
    out = console()
    shown = Table(title=f"{table.name}: {table.title}, for {arch}", title_justify="left")
    for heading, right in (
        ("cost", False),
        ("ns", True),
        ("low", True),
        ("high", True),
        ("", False),
        ("source", False),
    ):
        shown.add_column(heading, justify="right" if right else "left", no_wrap=heading != "source")
    for entry, value, why in rows:
        shown.add_row(entry, f"{value:,}", f"{why.low:,}", f"{why.high:,}", why.confidence, why.source)
    out.print(shown)
    out.print(f"not charged: {'; '.join(missing)}", highlight=False)
