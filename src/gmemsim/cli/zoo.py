"""`gmemsim zoo`: seeded real bugs, found or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .asking import study_command
from .output import console, say, table

if TYPE_CHECKING:
    from ..studies.survey import Survey

_ORIGINS: Final = {
    "shipped-bug": "shipped: in a released or mainline kernel",
    "review-found": "found in review or testing of a posted series",
    "guard-mutant": "guard mutants: a documented guard taken away, no historical bug",
    "source-derived": "deduced from the sources, no public report found",
    "documented-benign": "called harmless by its authors: must give nothing",
}


def _document(survey: Survey) -> list[dict[str, Any]]:
    found = [{**result.row, "never_ran": list(result.never)} for result in survey.results]
    nothing = ("found", "rule", "strategy", "schedules", "seconds")
    found += [
        {
            "id": bug.name,
            "origin": bug.origin,
            "expected": [],
            **dict.fromkeys(nothing),
            "why_not": why,
            "title": bug.title,
        }
        for bug, why in survey.skipped
    ]
    return found


def _show(survey: Survey) -> None:
    from ..arch.registry import described

    out = console()
    several = len(survey.plan.strategies) > 1
    rows = [result.row for result in survey.results]
    for origin, says in _ORIGINS.items():
        here = [row for row in rows if row["origin"] == origin]
        if not here:
            continue
        numbers = ("found", "schedules", "p90", "seconds")
        strategy = ("strategy",) * several
        headings = ("bug", "version", "VM type", *strategy, "found", "rule", *numbers[1:], "version clean")
        shown = table(says, headings, numbers=numbers)
        for row in here:
            found = f"{row['hits']} of {row['searches']}"
            if not row["expected"]:
                found = "something" if row["others"] else "nothing"
            control = ", ".join(row["control"]) + (" (as its version)" * bool(row["inherited"]))
            shown.add_row(
                row["id"],
                row["patch"],
                described(row["arch"]),
                *[row["strategy"]] * several,
                found,
                row["rule"] or ", ".join(row["others"]),
                _number(row["schedules"]),
                _number(row["schedules_p90"]),
                "" if row["seconds"] is None else f"{row['seconds']:.2f}",
                control or "yes",
            )
        out.print(shown)
        wanted = {row["id"] for row in here if row["expected"]}
        hit = {row["id"] for row in here if row["found"]}
        if wanted:
            out.print(f"{len(hit)} of {len(wanted)} bugs found.\n", highlight=False)
    for bug in {result.asked.entry.name: result.asked.entry for result in survey.results}.values():
        if unfound := getattr(bug, "unfound", ""):
            say(f"not found: {bug.name}: {unfound}")
    for bug, why in survey.skipped:
        say(f"not {'expressed' if bug.why_not else 'asked'}: {bug.name} ({bug.origin}): {why}")
    _of_patch(survey)
    say(
        f"Strategy {', '.join(survey.plan.strategies)}. Schedules: median and 90th percentile over the searches that "
        "found it. A version is clean if the same search finds nothing without the bug."
    )


def _of_patch(survey: Survey) -> None:
    """What only a patch of a user's has."""
    for result in survey.results:
        bug, row, patch = result.asked.entry, result.row, result.asked.patch
        where = f"{bug.name}, {row['arch']}"
        if row["says"]:
            say(f"{where}: {'without the bug' if row['control'] else 'besides'}: {row['says']}")
        if row["inherited"]:
            say(f"  so has the version that {patch} derives from")
        if row["control"] and getattr(bug, "scenario", ""):
            say(f"  gmemsim explore {getattr(bug, 'scenario', '')} --patch {patch} --arch {row['arch']}")
        if row["replaced"]:
            say(f"{where}: with the bug, your {', '.join(row['replaced'])} does not run")
        if not row["known"]:
            say(
                f"{where}: whether it is one in {patch} is not known: it was seeded into {', '.join(bug.versions)}"
            )
        elif survey.patches and result.asked.expected and not row["found"]:
            say(f"{where}: not found: {patch} withstands it or hides it, or the search is too small")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


command = study_command(
    "zoo",
    """Seed each bug of the zoo (or those of the IDs given) into a version, and look for it in its scenario.

    The version without it is searched as well and must be clean. With --patch both are of that patch: would the bug be
    found in it, and is it clean where the bugs are looked for? Exit code 1 if something is not as expected; a bug that
    one of several strategies finds is found.
    """,
    "[ID]...",
    document=_document,
    show=_show,
    strategies=("portfolio",),
    repetitions=20,
    schedules=2_000,
    seconds=60,
)
