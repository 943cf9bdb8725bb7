"""A search in batches, over one process or many, with the same verdict either way.

The strategy `auto` is two searches: first every state (`strategies.stateful`), within a budget of states; if that was
not all, and nothing was found, then the portfolio.

A random strategy is run in batches of a fixed number of schedules; the seed of a batch follows from the campaign's seed
and the batch's number. Batches are handed to processes in order, and a violation ends the campaign when every batch
with a lower number is done: so what is reported does not depend on how many processes there are or which was faster. A
systematic strategy remembers where it has been, so it stays in one process unless it can be given a root
(`strategies.base`).
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from time import monotonic
from typing import TYPE_CHECKING, Final

import attrs

from ..engine.interrupts import TimeUp, deadline
from ..jobs.workers import WorkerKilled, Workers, tick
from ..patches.entered import Entered
from .again import same_again
from .campaign_values import Batch, Campaign, CampaignResult, Progress
from .classes import ClassCounter, Coverage
from .judges.livelock import judge
from .lock_graph import LockGraph
from .program import watched
from .search import Found, Key, Limits, SearchResult, Stopped, search
from .strategies import AUTO, make_strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from ..engine.tape import Tape
    from .failure import Failure
    from .runs import Program
    from .search import State

__all__ = ["BATCH", "LATE", "STATES", "Campaign", "CampaignResult", "Progress", "run_campaign"]

#: Schedules of one batch of a random strategy.
BATCH: Final = 2_000
#: States of the first part of `auto`, unless told otherwise.
STATES: Final = 20_000
#: Its share of the time, if that is limited.
_SHARE: Final = 0.75
#: Seconds after a limit, in which a run ends by itself, before one is ended that does not.
LATE: Final = 0.5
#: Seconds between two looks at what the processes have done.
_LOOK: Final = 0.1


def run_campaign(campaign: Campaign, progress: Callable[[Progress], object] | None = None) -> CampaignResult:
    """Search until something is found, nothing is left, a limit is met or the user interrupts.

    Raises:
        ValueError: no such strategy.
        Exception: as `search.search`.
    """
    if campaign.strategy == AUTO:
        return _complete_first(campaign, progress)
    merged = _Merger(campaign, progress)
    strategy = make_strategy(campaign.strategy, campaign.seed)
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


def _counts_classes(campaign: Campaign) -> bool:
    """A search that goes back to states of one run sees no whole schedules."""
    return campaign.classes and campaign.strategy.partition(":")[0] != "stateful"


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
            make_strategy(campaign.strategy, campaign.seed + number * 0x9E3779B97F4A7C15),
            limits,
            observers=[counter, graph] if _counts_classes(campaign) else [graph],
            progress=None if show is None else lambda state: show(state, counter.distinct),
            keep_going=campaign.keep_going,
            collect_outcomes=campaign.outcomes,
            judge=judged,
            key=campaign.key,
        )
    if not result.found:
        entered.refuse_state()
        if result.stopped not in ("interrupted", "seconds"):
            look_again()
    return Batch(number, result, counter.counts, graph, entered)


def _send(campaign: Campaign, number: int, limits: Limits) -> Batch:
    """`_run` for another process: exceptions of the model stay behind, they need not be picklable."""
    # A run that has no end does not look at limits.
    with deadline(None if limits.seconds is None else limits.seconds + LATE):
        batch = _run(campaign, number, limits, lambda state, distinct: tick(state))
    found = tuple(
        attrs.evolve(each, failure=attrs.evolve(each.failure, error=None)) for each in batch.result.found
    )
    return attrs.evolve(batch, result=attrs.evolve(batch.result, found=found))


def _spread(campaign: Campaign, batches: Iterator[tuple[int, int]], merged: _Merger) -> None:
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


class _Merger:
    """Adds up batches."""

    def __init__(self, campaign: Campaign, progress: Callable[[Progress], object] | None) -> None:
        self.campaign = campaign
        self.progress = progress
        self.began = monotonic()
        self.stopped: Stopped | None = None
        self.over = False
        self._parts: list[SearchResult] = []
        self._counts: dict[int, int] = {}
        self._found: dict[Hashable, Found] = {}
        self._outcomes: dict[str, int] = {}
        self._entered = Entered(())
        self._witnesses: dict[str, Tape] = {}
        self._schedules = 0
        self._graph = LockGraph(campaign.program.name)

    def limits_left(self, schedules: int) -> Limits | None:
        """For the next batch; None if time is up."""
        limits = self.campaign.limits
        if limits.seconds is None:
            return attrs.evolve(limits, schedules=schedules)
        left = limits.seconds - (monotonic() - self.began)
        if left <= 0:
            self.stopped = self.stopped or "seconds"
            return None
        return attrs.evolve(limits, schedules=schedules, seconds=left)

    def tick(self, state: State, distinct: int) -> None:
        """Progress within a batch of this process."""
        self.show(self._schedules + state.schedules, distinct, state.depth, state.states)

    def phase(self, text: str) -> None:
        """What goes on between two runs."""
        if self.progress is not None:
            self.progress(
                Progress(self._schedules, len(self._counts), 0, monotonic() - self.began, phase=text)
            )

    def show(self, schedules: int, distinct: int = 0, depth: int = 0, states: int = 0) -> None:
        """Progress: so many schedules, and what is known of them beyond the batches that are merged."""
        if self.progress is not None:
            depth = max([depth, *(part.depth for part in self._parts)])
            seconds = monotonic() - self.began
            self.progress(Progress(schedules, len(self._counts) + distinct, depth, seconds, states))

    def add(self, batch: Batch) -> None:
        """One more, in order."""
        part = batch.result
        for found in part.found:
            self._found.setdefault(
                self.campaign.key(found.failure),
                attrs.evolve(found, schedule=self._schedules + found.schedule),
            )
        self._schedules += part.schedules
        self._parts.append(part)
        for fingerprint, runs in batch.counts.items():
            self._counts[fingerprint] = self._counts.get(fingerprint, 0) + runs
        for outcome, runs in part.outcomes.items():
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + runs
        self._witnesses = {**part.witnesses, **self._witnesses}
        self._graph.merge(batch.graph)
        self._entered = batch.entered.joined(self._entered)
        if part.stopped in ("violation", "seconds", "interrupted"):
            self.stopped = part.stopped
            self.over = True
        if self.campaign.jobs <= 1:
            self.show(self._schedules)

    def result(self) -> CampaignResult:
        """All of it."""
        parts = self._parts
        last = parts[-1] if parts else None
        counts = list(self._counts.values())
        return CampaignResult(
            search=SearchResult(
                strategy=self.campaign.strategy,
                schedules=self._schedules,
                pruned=sum(part.pruned for part in parts),
                steps=sum(part.steps for part in parts),
                depth=max((part.depth for part in parts), default=0),
                seconds=monotonic() - self.began,
                complete=len(parts) == 1 and parts[0].complete,
                bound="" if last is None else last.bound,
                stopped=self.stopped or (last.stopped if last is not None else "seconds"),
                found=tuple(self._found.values()),
                outcomes=self._outcomes,
                witnesses=self._witnesses,
                dismissed=sum(part.dismissed for part in parts),
                states=sum(part.states for part in parts),
                rules=parts[0].rules if parts else (),
                left_out=parts[0].left_out if parts else (),
                without=parts[0].without if parts else (),
                exchanged=parts[0].exchanged if parts else (),
                cut_in=next((part.cut_in for part in reversed(parts) if part.cut_in), ""),
            ),
            coverage=(
                Coverage(sum(counts), len(counts), counts.count(1), counts.count(2))
                if _counts_classes(self.campaign)
                else None
            ),
            lock_graph=self._graph,
            never_ran=self._entered.never if self._schedules else (),
            errnos=tuple(sorted(self._entered.errnos)),
        )
