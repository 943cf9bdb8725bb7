"""`gmemsim study mends`, and the table of `gmemsim findings ID --mends`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asking import study_command
from .output import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..studies.mends.table import Row
    from ..studies.study import Asked
    from ..studies.survey import Survey


def _parts(survey: Survey) -> Iterator[tuple[str, str, list[Asked], list[Row]]]:
    """Finding, version, what was to be asked, and the rows that there are."""
    from ..studies.mends.table import rows

    for finding, version in dict.fromkeys((asked.entry.name, asked.patch) for asked in survey.asked):
        here = [asked for asked in survey.asked if (asked.entry.name, asked.patch) == (finding, version)]
        keys = {asked.key for asked in here}
        yield finding, version, here, rows([one for one in survey.results if one.asked.key in keys])


def document(survey: Survey) -> list[dict[str, Any]]:
    """A finding on a version each."""
    return [
        {
            "finding": finding,
            "version": version,
            "interrupted": len(done) < len(asked),
            "searches": len(asked),
            "rows": [_row(row) for row in done],
        }
        for finding, version, asked, done in _parts(survey)
    ]


def show(survey: Survey) -> None:
    """A table a scenario; then what the candidates are."""
    for _, version, asked, done in _parts(survey):
        _show(version, done)
        if len(done) < len(asked):
            console().print(f"Interrupted: {len(done)} of {len(asked)} searches ended.", highlight=False)


def _row(row: Row) -> dict[str, Any]:
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


command = study_command(
    "mends",
    """Search the candidate mends of FINDINGS, and say what each breaks and changes.

    Every scenario that shows a finding is searched on the version as it is, then with each candidate. A finding is gone
    where a complete search did not meet it.
    """,
    "[FINDING]...",
    document=document,
    show=show,
    states=100_000,
    seconds=120,
)
