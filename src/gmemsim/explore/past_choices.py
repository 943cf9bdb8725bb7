"""A search that goes on past broken choices of locks, to see what harm comes of them.

A run ends at the first rule that it breaks. If that is one that restates the choice of a lock or an order
(`oracles.rules.Rule.kind`), nobody knows yet whether the patch does harm. So the search is done once more with nobody
looking after that rule, until there is harm, or none of the other choices is broken either.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

import attrs

from ..engine.interrupts import TimeUp
from ..oracles.every_rule import EVERY_RULE, is_choice
from ..oracles.exact import in_short
from .campaign import Campaign, CampaignResult, run_campaign
from .findings.table import apart
from .program import leaving_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from .campaign import Progress
    from .search import Found, Key, SearchResult, Stopped

_STOPPED: Final = {
    "interrupted": "interrupted",
    "worker": "a process was killed",
    "seconds": "time was up",
}


def broken_choices(found: tuple[Found, ...], *, keep_going: bool) -> frozenset[str]:
    """The choices that a search has to go past; none if it found harm and was to stop at that."""
    choices = frozenset(each.failure.rule for each in found if is_choice(each.failure.rule))
    harm = len(choices) < len({each.failure.rule for each in found})
    return frozenset() if harm and not keep_going else choices


def merged(first: SearchResult, second: SearchResult, past: frozenset[str], key: Key = apart) -> SearchResult:
    """Two searches as one: what both found, harm first; what was covered is the second's, which went past `past`."""
    new = tuple(attrs.evolve(found, without=past) for found in second.found)
    known = {key(found.failure) for found in first.found}
    found = (*first.found, *(each for each in new if key(each.failure) not in known))
    return attrs.evolve(
        second,
        seconds=first.seconds + second.seconds,
        found=tuple(sorted(found, key=lambda each: is_choice(each.failure.rule))),
        without=first.without,
        past=tuple(sorted(past)),
    )


def run_past_choices(
    campaign: Campaign, progress: Callable[[Progress], object] | None = None
) -> CampaignResult:
    """As `campaign.run_campaign`, and again without the choices that are broken, as long as time is left.

    Where a search is to keep going, it does so when the choices are out of its way: a broken one ends every run early.
    """
    began = monotonic()
    result = run_campaign(attrs.evolve(campaign, keep_going=False), progress)
    going = False
    past: frozenset[str] = frozenset()
    while True:
        new = broken_choices(result.search.found, keep_going=going) - past
        go = campaign.keep_going and not going and not new
        if (
            not result.search.found
            or not (new or go)
            or result.search.stopped in {"interrupted", "worker", "seconds"}
        ):
            return result
        if go and all(is_choice(found.failure.rule) for found in result.search.found):
            # The last search went past all of them, and met nothing to go on after.
            return result
        limits = campaign.limits
        left = None if limits.seconds is None else limits.seconds - (monotonic() - began)
        if left is not None and left <= 0:
            return _ended(result, "seconds")
        past |= new
        going = going or go
        again = attrs.evolve(
            campaign,
            program=leaving_out(campaign.program, past),
            limits=attrs.evolve(limits, seconds=left),
            keep_going=going,
        )
        try:
            more = run_campaign(again, progress)
        except KeyboardInterrupt as stop:
            return _ended(result, "seconds" if isinstance(stop, TimeUp) else "interrupted")
        graph = result.lock_graph
        graph.merge(more.lock_graph)
        result = CampaignResult(
            search=merged(result.search, more.search, past, campaign.key),
            coverage=more.coverage,
            lock_graph=graph,
            never_ran=tuple(name for name in result.never_ran if name in more.never_ran),
            errnos=tuple(sorted({*result.errnos, *more.errnos})),
        )


def in_words(done: SearchResult) -> list[str]:
    """Which choices are broken, and what harm was found past them: a line each, none if none is broken."""
    broken = sorted({each.failure.rule for each in done.found if is_choice(each.failure.rule)})
    harm = [each.failure.rule for each in done.found if not is_choice(each.failure.rule)]
    if not broken:
        return []
    lines = [f"{ident} restates a choice of lock or order: {EVERY_RULE[ident].says}." for ident in broken]
    missing = [ident for ident in broken if ident not in done.past]
    if missing:
        return [
            *lines,
            f"No harm was looked for past {in_short(missing)}: {_STOPPED.get(done.stopped, done.stopped)}.",
        ]
    if harm:
        return [*lines, f"Harm found past {in_short(broken)}: {in_short(harm)}."]
    amount = (
        f"{done.states:,} states" if done.states and not done.sampled else f"{done.schedules:,} schedules"
    )
    whole = "complete" if done.complete else "not complete"
    return [*lines, f"No harm found past {in_short(broken)} in {amount} ({whole})."]


def _ended(result: CampaignResult, stopped: Stopped) -> CampaignResult:
    return attrs.evolve(result, search=attrs.evolve(result.search, stopped=stopped))
