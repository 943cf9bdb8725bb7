"""The table of `gmemsim findings ID --mends`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..nearest import hint
from .errors import InputError
from .output import console, print_json
from .progress import counted

if TYPE_CHECKING:
    from ..explore.findings.finding import Finding
    from ..studies.mends.table import Row

__all__ = ["show_mends"]


def show_mends(finding: Finding, version: str | None, *, states: int, seconds: float, as_json: bool) -> bool:
    """Search every candidate and show what came of it; False if the user interrupted it.

    Raises:
        InputError: nothing to search.
    """
    from ..patches.mends.registry import mends_of
    from ..studies.mends.table import default_version, rows
    from ..studies.mends.unjudged import shown_on, versions_of

    there = versions_of(finding)
    if not any(shown_on(finding, name) for name in there):
        raise InputError(
            f"no oracle calls {finding.ident} an error; what its mends change is in {finding.page}"
        )
    if version is None:
        version = default_version(finding)
    elif version not in there:
        raise InputError(f"--patch {version}: {hint(version, there)}")
    if not shown_on(finding, version):
        raise InputError(f"no scenario shows {finding.ident} on {version}")
    done: list[Row] = []
    ended = True
    total = len(shown_on(finding, version)) * (1 + len(mends_of(finding.ident)))
    try:
        with counted(f"{finding.ident} on {version}", total) as show:
            show(0)
            for row in rows(finding, version, states=states, seconds=seconds):
                done.append(row)
                show(len(done))
    except KeyboardInterrupt:
        ended = False
    if as_json:
        print_json(
            {
                "finding": finding.ident,
                "version": version,
                "interrupted": not ended,
                "searches": total,
                "rows": [_document(row) for row in done],
            }
        )
    else:
        _show(version, done)
        if not ended:
            console().print(f"Interrupted: {len(done)} of {total} searches ended.", highlight=False)
    return ended


def _document(row: Row) -> dict[str, Any]:
    return {
        "mend": None if row.mend is None else row.mend.ident,
        "gone": row.gone,
        "broken": row.broken,
        "edges_added": list(row.added),
        "edges_removed": list(row.removed),
        "cycles_added": list(row.cycles_added),
        "cycles_removed": list(row.cycles_removed),
        **row.asked,
    }


def _show(version: str, done: list[Row]) -> None:
    from rich.table import Table

    out = console()
    for scenario in dict.fromkeys(row.scenario for row in done):
        here = [row for row in done if row.scenario == scenario]
        table = Table(title=f"{scenario} on {version}, {here[0].asked['arch']}", title_justify="left")
        for name in ("mend", "finding", "states", "CPU s", "breaks", "lock order", "cycles"):
            right = name in ("states", "CPU s")
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for row in here:
            table.add_row(
                "(none)" if row.mend is None else row.mend.ident,
                {True: "gone", False: "met", None: "not met; cut short"}[row.gone],
                f"{row.asked['states']:,}{'' if row.asked['complete'] else ' (cut short)'}",
                f"{row.asked['cpu_seconds']:.1f}",
                _broken(row),
                _changes(row.added, row.removed),
                _changes(row.cycles_added, row.cycles_removed),
            )
        out.print(table)
    for mend in dict.fromkeys(row.mend for row in done if row.mend is not None):
        out.print(f"{mend.ident}: {mend.title}", style="bold", highlight=False)
        out.print(f"  {mend.says}.", highlight=False)
        if mend.wrong:
            out.print(f"  Known to be wrong: {mend.wrong}.", highlight=False)
        if mend.blind:
            out.print(f"  Not seen by the model: {mend.blind}.", highlight=False)
    if done:
        out.print(
            "A finding is gone where a complete search of the scenario, on its small size, did not meet it. What a "
            "mend breaks elsewhere is in the finding's page.",
            highlight=False,
        )


def _broken(row: Row) -> str:
    lines = [f"{rule}: {says}" for rule, says in row.broken.items()]
    if row.asked["left_mapped"]:
        lines.append("a run ends with the poisoned page mapped")
    return "\n".join(lines) or "nothing here"


def _changes(added: tuple[str, ...], removed: tuple[str, ...]) -> str:
    return "\n".join([*(f"+ {each}" for each in added), *(f"- {each}" for each in removed)]) or "as before"
