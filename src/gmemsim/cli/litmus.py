"""`gmemsim litmus`: named questions about small workloads, answered for each patch version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asking import study_command
from .conditions import show_answers, show_ends, show_outcomes
from .output import console

if TYPE_CHECKING:
    from ..studies.survey import Survey


def _document(survey: Survey) -> dict[str, dict[str, Any]]:
    return {
        entry.name: {result.asked.patch: result.row for result in survey.of(entry)}
        for entry in survey.entries
        if survey.of(entry)
    }


def _show(survey: Survey) -> None:
    from ..studies.litmus import Answer

    out = console()
    for entry in survey.entries:
        by = {result.asked.patch: result for result in survey.of(entry)}
        show_answers(
            entry.name, {patch: list(map(Answer.of, one.row["conditions"])) for patch, one in by.items()}
        )
        for patch, one in by.items():
            if survey.plan.observe or not one.row["conditions"]:
                show_outcomes(patch, {each["outcome"]: each["token"] for each in one.row["outcomes"]})
                show_ends((each["outcome"] for each in one.row["outcomes"]), one.row["count_to"])
            for failure in one.row["failures"]:
                out.print(f"{patch}: failed: {failure}", highlight=False, markup=False, soft_wrap=True)
            if not one.complete:
                out.print(f"{patch}: {one.verdict}", highlight=False)


command = study_command(
    "litmus",
    """Answer the conditions of TESTS: names of litmus tests, library scenarios or .toml files; default: all tests.

    A condition holds in all outcomes of a version (always), in some (sometimes) or in none (never). Always and never
    are said of a complete search only. Exit code 1 if an answer is not the expected one, or a run failed: a crash or a
    deadlock meets no condition; 2 if a search was not complete and an answer is open.
    """,
    "[TESTS]...",
    document=_document,
    show=_show,
    observe=(),
    states=100_000,
    seconds=60,
)
