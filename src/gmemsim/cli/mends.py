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
    from ..explore.findings.table import FINDINGS

    return [
        {
            "finding": finding,
            "version": version,
            "release": FINDINGS[finding].release_on(version),
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
                _met(row),
                f"{row['states']:,}{'' if row['complete'] else ' (cut short)'}",
                f"{row['cpu_seconds']:.1f}",
                _broken(row),
                _changes(row, "edges"),
                _changes(row, "cycles"),
            )
            for row in here
        ]
        release = f" (release {here[0]['release']})" if here[0]["release"] else ""
        title = f"{scenario} on {version}{release}, {here[0]['arch']}"
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
    if done and all(row["gone"] is None for row in done):
        out.print(
            "Nothing is answered: every search was cut short, and none met the finding. See --states and --seconds.",
            highlight=False,
        )


def _met(row: dict[str, Any]) -> str:
    """Whether the finding was met; what is not met without the mend either says little of it, or nothing."""
    text = {True: "gone", False: "met", None: "not met; cut short"}[row["gone"]]
    if row["mend"] is None or row["met_without"] or row["gone"] is False:
        return text
    return "not met, nor without it" if row["gone"] else f"{text}; nor without it: says nothing of the mend"


def _broken(row: dict[str, Any]) -> str:
    lines = [f"{rule}: {says}" for rule, says in row["broken"].items()]
    if row["left_mapped"]:
        lines.append("a run ends with the poisoned page mapped")
    if row["mend"] is not None and not lines:
        lines.append("nothing here" if row["complete"] else "nothing so far; cut short")
    return "\n".join(lines)


def _changes(row: dict[str, Any], what: str) -> str:
    """What is new and what is missing, as far as the searches tell: None where one was cut short."""
    if row["mend"] is None:
        return ""
    found = {sign: row[f"{what}_{how}"] for sign, how in (("+", "added"), ("-", "removed"))}
    lines = [f"{sign} {each}" for sign, these in found.items() for each in these or ()]
    if None not in found.values():
        return "\n".join(lines) or "as before"
    open_ = {"+": "what is new", "-": "what is missing"}
    unknown = " and ".join(open_[sign] for sign, these in found.items() if these is None)
    return "\n".join([*lines, f"{unknown} is not known: cut short"])


command = study_command(
    "mends",
    """Search the candidate mends of FINDINGS, and say what each breaks and changes.

    Every scenario that shows a finding is searched on the version as it is, then with each candidate. A finding is gone
    where a complete search did not meet it. Exit code 0: every search met the finding or looked at every state; 2: one
    was cut short before that, so that it is no answer.
    """,
    "[FINDING]...",
    document=document,
    show=show,
    states=100_000,
    seconds=120,
)
