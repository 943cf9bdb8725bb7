"""`gmemsim study mends`, and the table of `gmemsim findings ID --mends`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asking import study_command
from .output import console, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..studies.study import Asked
    from ..studies.survey import Survey


def _parts(survey: Survey) -> Iterator[tuple[str, str, list[Asked], list[dict[str, Any]]]]:
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
            "rows": done,
        }
        for finding, version, asked, done in _parts(survey)
    ]


def show(survey: Survey) -> None:
    """A table a scenario; then what the candidates are."""
    for _, version, asked, done in _parts(survey):
        _show(version, done)
        if len(done) < len(asked):
            console().print(f"Interrupted: {len(done)} of {len(asked)} searches ended.", highlight=False)


def _show(version: str, done: list[dict[str, Any]]) -> None:
    from ..patches.mends.registry import MENDS

    out = console()
    headings = ("mend", "finding", "states", "CPU s", "breaks", "lock order", "cycles")
    for scenario in dict.fromkeys(row["scenario"] for row in done):
        here = [row for row in done if row["scenario"] == scenario]
        rows = [
            (
                row["mend"] or "(none)",
                {True: "gone", False: "met", None: "not met; cut short"}[row["gone"]],
                f"{row['states']:,}{'' if row['complete'] else ' (cut short)'}",
                f"{row['cpu_seconds']:.1f}",
                _broken(row),
                _changes(row, "edges"),
                _changes(row, "cycles"),
            )
            for row in here
        ]
        title = f"{scenario} on {version}, {here[0]['arch']}"
        out.print(table(title, headings, rows, numbers=("states", "CPU s")))
    for ident in dict.fromkeys(row["mend"] for row in done if row["mend"]):
        mend = MENDS[ident]
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


def _broken(row: dict[str, Any]) -> str:
    lines = [f"{rule}: {says}" for rule, says in row["broken"].items()]
    if row["left_mapped"]:
        lines.append("a run ends with the poisoned page mapped")
    return "\n".join(lines) or "nothing here"


def _changes(row: dict[str, Any], what: str) -> str:
    signs = (("+", "added"), ("-", "removed"))
    return "\n".join(f"{sign} {each}" for sign, how in signs for each in row[f"{what}_{how}"]) or "as before"


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
