"""What the batches of a campaign did, added up."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import attrs

from ..engine.blame import blame
from ..engine.interrupts import TimeUp, heard
from ..patches.entered import Entered
from .campaign_values import CampaignResult, Progress
from .classes import Coverage
from .lock_graph import LockGraph
from .search import SearchResult, State, Stopped, look_for_traps

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..engine.tape import Tape
    from .campaign_values import Batch, Campaign
    from .search import Found, Limits
    from .spread_states import Spread


class Merger:
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
        #: Of a search of states by several processes; else that of its only batch.
        self._complete: bool | None = None
        self._states = 0
        self._graph = LockGraph(campaign.program.name)

    def limits_left(self, schedules: int | None) -> Limits | None:
        """For the next batch; None if time is up."""
        limits = self.campaign.limits
        if limits.seconds is None:
            return attrs.evolve(limits, schedules=schedules)
        left = limits.seconds - (monotonic() - self.began)
        if left <= 0:
            self.stopped = self.stopped or "seconds"
            return None
        return attrs.evolve(limits, schedules=schedules, seconds=left)

    def states_left(self, states: int) -> Limits | Stopped:
        """For the next part of a search of states, when so many are known: its limits, or the one that is met."""
        limits = self.campaign.limits
        if limits.states is not None:
            if states >= limits.states:
                return "states"
            limits = attrs.evolve(limits, states=limits.states - states)
        if limits.schedules is not None:
            if self._schedules >= limits.schedules:
                return "schedules"
            limits = attrs.evolve(limits, schedules=limits.schedules - self._schedules)
        return limits

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

    def joined(self, spread: Spread) -> None:
        """A search of states by several processes is over: loops in its graph, and whether it was all."""
        self._states = len(spread.joined.graph)
        self.stopped = spread.stopped or self.stopped
        state = State(began=self.began, key=self.campaign.key)
        if spread.stopped in ("exhausted", "states", "schedules"):
            campaign = self.campaign
            try:
                if not look_for_traps(
                    campaign.program, spread.joined, state, campaign.limits, campaign.outcomes
                ):
                    self.stopped = "seconds"
            except KeyboardInterrupt as stop:
                # What the processes found is told all the same.
                heard(stop)
                self.stopped = "seconds" if isinstance(stop, TimeUp) else "interrupted"
        for key, found in state.found.items():
            self._found.setdefault(key, attrs.evolve(found, schedule=self._schedules))
        for outcome, runs in state.outcomes.items():
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + runs
        self._witnesses = {**state.witnesses, **self._witnesses}
        limits = state.step_limits + sum(part.step_limits for part in self._parts)
        self._complete = self.stopped == "exhausted" and not limits

    def before_any(self, stop: Exception | KeyboardInterrupt) -> CampaignResult:
        """It ended before the search had begun."""
        if isinstance(stop, KeyboardInterrupt):
            heard(stop)
        by_user = isinstance(stop, KeyboardInterrupt) and not isinstance(stop, TimeUp)
        self.stopped = "interrupted" if by_user else "seconds"
        result = self.result()
        return attrs.evolve(result, search=attrs.evolve(result.search, cut_in=str(blame(stop) or "")))

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
                complete=len(parts) == 1 and parts[0].complete if self._complete is None else self._complete,
                bound="" if last is None else last.bound,
                stopped=self.stopped or (last.stopped if last is not None else "seconds"),
                found=tuple(self._found.values()),
                outcomes=self._outcomes,
                witnesses=self._witnesses,
                dismissed=sum(part.dismissed for part in parts),
                states=self._states or sum(part.states for part in parts),
                rules=parts[0].rules if parts else (),
                left_out=parts[0].left_out if parts else (),
                without=parts[0].without if parts else (),
                exchanged=parts[0].exchanged if parts else (),
                cut_in=next((part.cut_in for part in reversed(parts) if part.cut_in), ""),
            ),
            coverage=(
                Coverage(sum(counts), len(counts), counts.count(1), counts.count(2))
                if self.campaign.counts_classes
                else None
            ),
            lock_graph=self._graph,
            never_ran=self._entered.never if self._schedules else (),
            errnos=tuple(sorted(self._entered.errnos)),
        )
