"""Conditions of a scenario and their answers, as `litmus` and `outcomes` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .output import console, say, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..studies.litmus import Answer


def show_answers(title: str, by: Mapping[str, Sequence[Answer]]) -> None:
    """A row for each condition, a column for each version; nothing if there are none."""
    shown = table(title, ("condition", *by))
    for rows in zip(*by.values(), strict=True):
        cells = [
            row.verdict if row.as_expected else f"{row.verdict}, expected {row.expected}" for row in rows
        ]
        claim = f" {rows[0].expected}" if rows[0].expected in ("exists", "forall") else ""
        shown.add_row(f"{rows[0].name}:{claim} {rows[0].test}", *cells)
    if shown.row_count:
        console().print(shown)
    for patch, answers in by.items():
        for note in dict.fromkeys(answer.note for answer in answers if answer.note):
            say(f"{patch}: {note}")


def show_outcomes(patch: str, tokens: Mapping[str, str], most: int | None = None) -> None:
    """Each outcome with the token of a run that comes to it."""
    out = console()
    for outcome, token in sorted(tokens.items())[:most]:
        say(f"{patch}: {outcome}")
        out.print(f"  {token}", highlight=False, markup=False, soft_wrap=True, style="dim")


def show_ends(outcomes: Iterable[str], count_to: int) -> None:
    """Which counts of the outcomes are at their end, so that there may have been more; nothing if there are none."""
    from ..explore.observables import stopped

    counts = [msgspec.json.decode(outcome) for outcome in outcomes if count_to and outcome.startswith("{")]
    if at_end := stopped(counts, count_to):
        say(f"Counts stop at {count_to}, and may have been more: {', '.join(at_end)}.")
