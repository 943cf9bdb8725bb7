"""`gmemsim explore --against`: only what a patch gets wrong that its base does not, and what it mends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..explore.scope import nothing_ran, scope, scope_document
from .errors import INTERRUPTED, UNDECIDED, VIOLATION, InputError
from .output import print_json, say
from .program import describe
from .progress import budgets, searching
from .reporting import Budget, report_all, show_reports

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..explore.against import Both, Compared
    from ..explore.campaign import Campaign, Progress
    from ..explore.program import ScenarioProgram
    from ..explore.runs import Program
    from ..explore.search import Found, SearchResult
    from .reporting import Reported


def explore_against(
    campaign: Campaign, base: ScenarioProgram, *, shrink: bool, max_steps: int, as_json: bool
) -> tuple[list[Reported], int]:
    """Search both, show what differs; reports on the patch's own failures, and the exit code.

    1: the patch has a failure of its own. 0: none was found. 2: one of the two was not looked at.

    Raises:
        InputError: a process was killed.
    """
    from ..engine.interrupts import deaf
    from ..explore.against import search_against
    from ..jobs.workers import WorkerKilled

    program: Any = campaign.program
    budget = Budget(campaign.limits.seconds)
    with searching(
        f"{describe(base)}, then {program.name}", budgets(campaign.limits, campaign.strategy)
    ) as watcher:

        def watch(searched: Program) -> Callable[[Progress], object]:
            watcher.say(f"searching {searched.name}")
            return watcher

        done = search_against(campaign, base, seconds=lambda: budget.left, watch=watch)
        if done.interrupted:
            budget.stopped = "interrupted"
        reports = report_all(
            program, done.own, shrink=shrink, max_steps=max_steps, budget=budget, say=watcher.say
        )
    with deaf():
        if as_json:
            print_json(_document(program, base, done, reports))
        else:
            _show(program, base, done, reports)
    if reports:
        return reports, VIOLATION
    if budget.stopped == "interrupted":
        return reports, INTERRUPTED
    if "worker" in {done.base.search.stopped, "" if done.patch is None else done.patch.search.stopped}:
        raise InputError(f"{WorkerKilled()}; the two searches are not compared to their end")
    return reports, UNDECIDED if _undecided(done) else 0


def _undecided(done: Compared) -> bool:
    """One side was not looked at, so that nothing is known of what is the patch's own."""
    return done.patch is None or nothing_ran(done.patch.search) or nothing_ran(done.base.search)


def _document(
    program: ScenarioProgram, base: ScenarioProgram, done: Compared, reports: list[Reported]
) -> dict[str, Any]:
    from ..report.json import as_json

    return {
        "verdict": "violation" if done.own else "undecided" if _undecided(done) else "none of its own",
        "scenario": program.scenario.name,
        "arch": program.arch,
        "patch": {
            "name": program.patch,
            **({} if done.patch is None else scope_document(done.patch.search)),
        },
        "against": {"name": base.patch, **scope_document(done.base.search)},
        "own": [
            {
                **_failure(each.found),
                "replay": each.report.replay,
                "notes": list(each.notes),
                "report": as_json(each.report),
            }
            for each in reports
        ],
        "mended": [_failure(found) for found in done.mended],
        "both": [{**_failure(_either(each)), "base_under_its_choices": each.there} for each in done.both],
        "tried_on_the_other_side": done.tried,
        "never_ran": [] if done.patch is None else list(done.patch.never_ran),
        "errnos": [] if done.patch is None else list(done.patch.errnos),
    }


def _failure(found: Found) -> dict[str, Any]:
    from ..oracles.every_rule import EVERY_RULE

    rule = EVERY_RULE.get(found.failure.rule)
    return {
        "rule": found.failure.rule,
        "kind": "harm" if rule is None else rule.kind,
        "summary": found.failure.summary,
        "known": found.sort[2] or None,
    }


def _either(each: Both) -> Found:
    found = each.found or each.base
    assert found is not None
    return found


def _show(program: ScenarioProgram, base: ScenarioProgram, done: Compared, reports: list[Reported]) -> None:
    import attrs

    from ..explore.past_choices import in_words
    from ..patches.entered import never_ran

    show_reports(reports)
    patch, against = str(program.patch), str(base.patch)
    if done.patch is None:
        say(f"Not compared: the search of {against} did not come to its end, {patch} was not searched.")
        return
    if not done.own and _undecided(done):
        say("Undecided: of one of the two no run came to its end.")
    elif not done.own:
        say(f"No violation found that {against} does not have.")
    for found in done.own:
        say(f"own: {_line(found)}; {_seen(done.base.search, against)}")
    for found in done.mended:
        say(f"mended: {_line(found)}; {_seen(done.patch.search, patch)}")
    for both in done.both:
        alone = {"fails alike": "", "not tried": ""}.get(both.there, ", though not under the same schedule")
        say(f"in both: {_line(_either(both))}{alone}")
    if not done.tried:
        say("Time was up or it was interrupted: what one side found was not tried on the other.")
    # What the base does as well is no harm that comes of the patch's choice.
    for line in in_words(attrs.evolve(done.patch.search, found=done.own)):
        say(line)
    for what, search in ((program, done.patch.search), (base, done.base.search)):
        say(f"{describe(what)}: strategy {search.strategy}, {scope(search)}; {search.schedules:,} runs")
    if done.patch.never_ran:
        say(never_ran(done.patch.never_ran, f"{done.patch.search.schedules:,} runs"))
    for line in done.patch.errnos:
        say(line)


def _line(found: Found) -> str:
    known = f" (known: {found.sort[2]})" if found.sort[2] else ""
    summary = found.failure.summary.removeprefix(f"{found.failure.rule}: ")
    return f"{found.failure.rule}: {summary}{known}"


def _seen(done: SearchResult, name: str) -> str:
    if done.complete:
        return f"{name} does not come to it, its search is complete"
    return f"not seen on {name}, whose search is not complete"
