"""A search in batches, over one process or many, with the same verdict either way.

The strategy `auto` is two searches: first every state (`strategies.stateful`), within a budget of states; if that was
not all, and nothing was found, then the portfolio.

A random strategy is run in batches of a fixed number of schedules; the seed of a batch follows from the campaign's seed
and the batch's number. Batches are handed to processes in order, and a violation ends the campaign when every batch
with a lower number is done: so what is reported does not depend on how many processes there are or which was faster. A
systematic strategy remembers where it has been, so it stays in one process, but for the search of states: there
processes share what they have been to (`spread_states`).
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

import attrs

from ..engine.interrupts import TimeUp, deadline
from ..jobs.workers import WorkerKilled, Workers, tick
from .again import same_again
from .campaign_merger import Merger
from .campaign_values import Batch, Campaign, CampaignResult, Progress
from .classes import ClassCounter
from .clock import OutOfTime
from .exchanges import must_be_alike
from .judges.livelock import judge
from .lock_graph import LockGraph
from .program import watched
from .search import Key, Limits, State, search
from .spread_states import Done, Spread, run_part
from .strategies import AUTO, make_strategy
from .strategies.stateful import Stateful
from .strategies.stateful_part import CannotShare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..engine.tape import Tape
    from .failure import Failure
    from .runs import Program
    from .strategies.base import SearchStrategy
    from .strategies.stateful_part import Part

__all__ = ["BATCH", "LATE", "STATES", "Campaign", "CampaignResult", "Progress", "run_campaign"]

#: Schedules of one batch of a random strategy.
BATCH: Final = 2_000
#: States of the first part of `auto`, unless told otherwise.
STATES: Final = 20_000
#: Its share of the time, if that is limited.
_SHARE: Final = 0.75
#: Seconds after a limit, in which a run ends by itself, before one is ended that does not.
LATE: Final = 0.5
#: What `Stateful` leaves out in a search that processes share: nothing, or exchanges. Who sleeps in a state is known to
#: the process alone that came there.
_SHARED: Final = (0, 3)
#: Seconds between two looks at what the processes have done.
_LOOK: Final = 0.1


def run_campaign(campaign: Campaign, progress: Callable[[Progress], object] | None = None) -> CampaignResult:
    """Search until something is found, nothing is left, a limit is met or the user interrupts.

    Raises:
        ValueError: no such strategy.
        AsksWho: of `stateful:3`, for a patch for which that is wrong.
        Exception: as `search.search`.
    """
    if campaign.strategy == AUTO:
        return _complete_first(campaign, progress)
    merged = Merger(campaign, progress)
    strategy = make_strategy(campaign.strategy, campaign.seed)
    if getattr(strategy, "exchanges", False):
        try:
            must_be_alike(campaign.program, campaign.limits)
        except (OutOfTime, KeyboardInterrupt) as stop:
            return merged.before_any(stop)
        left = merged.limits_left(campaign.limits.schedules)
        if left is None:
            return merged.result()
        campaign = attrs.evolve(campaign, limits=left)
    if campaign.jobs > 1 and isinstance(strategy, Stateful) and strategy.reduce in _SHARED:
        with suppress(CannotShare):
            return _spread_states(campaign, strategy.reduce, Merger(campaign, progress))
    if getattr(strategy, "systematic", True):
        merged.add(_run(campaign, 0, campaign.limits, merged.tick, merged.phase))
        return merged.result()
    batches = _batches(campaign.limits.schedules)
    if campaign.jobs <= 1:
        for number, schedules in batches:
            left = merged.limits_left(schedules)
            if left is None:
                break
            merged.add(_run(campaign, number, left, merged.tick, merged.phase))
            if merged.over:
                break
    else:
        _spread(campaign, batches, merged)
    return merged.result()


def _spread_states(campaign: Campaign, reduce: int, merged: Merger) -> CampaignResult:
    """Every state, by several processes."""

    def merge(batch: Batch) -> bool:
        merged.add(batch)
        return merged.over

    spread = Spread(
        campaign.jobs,
        partial(_send_part, campaign, reduce, merged.began),
        merge,
        merged.states_left,
        lambda runs, states: merged.show(runs, states=states),
    )
    spread.search()
    merged.joined(spread)
    return merged.result()


def _send_part(
    campaign: Campaign, reduce: int, began: float, part: Part | None, table: str, limits: Limits
) -> Done:
    """A part of a search of states, for another process; the clock of all is the same."""
    if limits.seconds is not None:
        limits = attrs.evolve(limits, seconds=max(0.0, limits.seconds - (monotonic() - began)))
    return run_part(partial(_send, campaign, 0, limits), reduce, part, table)


def _complete_first(campaign: Campaign, progress: Callable[[Progress], object] | None) -> CampaignResult:
    """Every state within a budget; the portfolio if that was not all."""
    limits = campaign.limits
    began = monotonic()
    first = run_campaign(
        attrs.evolve(
            campaign,
            strategy="stateful",
            classes=False,
            limits=attrs.evolve(
                limits,
                schedules=None,
                states=STATES if limits.states is None else limits.states,
                seconds=None if limits.seconds is None else limits.seconds * _SHARE,
            ),
        ),
        progress,
    )
    done = first.search
    used_up = done.stopped == "states" or (done.stopped == "seconds" and not done.complete)
    if not used_up or (done.found and not campaign.keep_going):
        return attrs.evolve(first, search=attrs.evolve(done, strategy=AUTO))
    left = None if limits.seconds is None else max(0.0, limits.seconds - (monotonic() - began))
    second = run_campaign(
        attrs.evolve(
            campaign,
            strategy="portfolio",
            limits=attrs.evolve(limits, seconds=left, states=None),
        ),
        progress,
    )
    return _joined(first, second, campaign.key)


def _joined(first: CampaignResult, second: CampaignResult, key: Key) -> CampaignResult:
    """A search of states that was not complete, and what was sampled after it."""
    one, two = first.search, second.search
    sorts = {key(found.failure) for found in one.found}
    later = (
        attrs.evolve(found, schedule=one.schedules + found.schedule)
        for found in two.found
        if key(found.failure) not in sorts
    )
    outcomes = dict(one.outcomes)
    for outcome, runs in two.outcomes.items():
        outcomes[outcome] = outcomes.get(outcome, 0) + runs
    graph = first.lock_graph
    graph.merge(second.lock_graph)
    return CampaignResult(
        search=attrs.evolve(
            two,
            strategy=AUTO,
            schedules=one.schedules + two.schedules,
            sampled=two.schedules,
            states=one.states,
            pruned=one.pruned + two.pruned,
            steps=one.steps + two.steps,
            depth=max(one.depth, two.depth),
            seconds=one.seconds + two.seconds,
            complete=False,
            found=(*one.found, *later),
            outcomes=outcomes,
            witnesses={**two.witnesses, **one.witnesses},
            dismissed=one.dismissed + two.dismissed,
            cut_in=two.cut_in or one.cut_in,
        ),
        coverage=second.coverage,
        lock_graph=graph,
        never_ran=tuple(name for name in first.never_ran if name in second.never_ran or not two.schedules),
        errnos=tuple(sorted({*first.errnos, *second.errnos})),
    )


def _batches(schedules: int | None) -> Iterator[tuple[int, int]]:
    number = 0
    while schedules is None or number * BATCH < schedules:
        yield number, BATCH if schedules is None else min(BATCH, schedules - number * BATCH)
        number += 1


def _run(
    campaign: Campaign,
    number: int,
    limits: Limits,
    show: Callable[[State, int], object] | None = None,
    phase: Callable[[str], object] | None = None,
    strategy: SearchStrategy | None = None,
) -> Batch:
    """One batch, in whatever process this is."""
    counter = ClassCounter()
    graph = LockGraph(campaign.program.name)

    def judged(program: Program, failure: Failure, tape: Tape, steps: int) -> Failure | None:
        if phase is not None and failure.rule == "step_limit":
            phase("judging a run that met its step limit")
        return judge(program, failure, tape, steps)

    with watched(campaign.program) as entered, same_again(campaign.program, limits.steps) as look_again:
        result = search(
            campaign.program,
            strategy or make_strategy(campaign.strategy, campaign.seed + number * 0x9E3779B97F4A7C15),
            limits,
            observers=[counter, graph] if campaign.counts_classes else [graph],
            progress=None if show is None else lambda state: show(state, counter.distinct),
            keep_going=campaign.keep_going,
            collect_outcomes=campaign.outcomes,
            judge=judged,
            key=campaign.key,
        )
    # Also if something was found: it may be what an earlier run left behind.
    entered.refuse_state()
    if not result.found and result.stopped not in ("interrupted", "seconds"):
        look_again()
    return Batch(number, result, counter.counts, graph, entered)


def _send(campaign: Campaign, number: int, limits: Limits, strategy: SearchStrategy | None = None) -> Batch:
    """`_run` for another process: exceptions of the model stay behind, they need not be picklable."""
    # A run that has no end does not look at limits.
    with deadline(None if limits.seconds is None else limits.seconds + LATE):
        batch = _run(campaign, number, limits, lambda state, distinct: tick(state), strategy=strategy)
    found = tuple(
        attrs.evolve(each, failure=attrs.evolve(each.failure, error=None)) for each in batch.result.found
    )
    return attrs.evolve(batch, result=attrs.evolve(batch.result, found=found))


def _spread(campaign: Campaign, batches: Iterator[tuple[int, int]], merged: Merger) -> None:
    """Keep every process busy, and merge in the order of the batches."""
    pending: dict[Future[Batch], int] = {}
    ready: dict[int, Batch] = {}
    following = 0
    with Workers(campaign.jobs) as workers:
        try:
            while True:
                while len(pending) < 2 * campaign.jobs and len(ready) < 8 * campaign.jobs:
                    number, schedules = next(batches, (-1, 0))
                    limits = merged.limits_left(schedules) if number >= 0 else None
                    if limits is None:
                        break
                    pending[workers.submit(_send, campaign, number, limits)] = number
                if not pending:
                    break
                done, _ = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
                merged.show(workers.runs)
                for future in done:
                    ready[pending.pop(future)] = workers.result(future)
                while following in ready:
                    merged.add(ready.pop(following))
                    following += 1
                    if merged.over:
                        return
        except WorkerKilled:
            for batch in sorted(ready.values(), key=lambda batch: batch.number):
                merged.add(batch)
            merged.stopped = "worker"
        except KeyboardInterrupt as stop:
            for batch in sorted([*ready.values(), *workers.stop(pending)], key=lambda batch: batch.number):
                merged.add(batch)
            merged.stopped = "seconds" if isinstance(stop, TimeUp) else "interrupted"
