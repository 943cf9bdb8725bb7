"""What a patch gets wrong that its base does not, and what it mends: two searches alike, and their failures compared.

Failures are the same if their `identity` is: the rule and the values of the scene, never their text. A search that
sampled has not seen everything, so each failure that only one side found is tried on the other as well, under the same
choices as far as they fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from ..engine.interrupts import TimeUp, deadline
from ..engine.locks.kinds import class_of
from .campaign import LATE
from .findings.table import FINDINGS
from .judges.deadlock import WaitFor
from .lenient import LenientReplay
from .measure import attempt
from .past_choices import run_past_choices
from .program import leaving_out

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .campaign import Campaign, CampaignResult, Progress
    from .failure import Failure
    from .program import ScenarioProgram
    from .runs import Program
    from .scene import Scene
    from .search import Found

#: What the other side does under the choices of a failure: the same, something else, or nothing bad.
There = Literal["fails alike", "fails otherwise", "passes", "not tried"]
#: How a search ends that says nothing of the rest.
_ENDED: Final = frozenset({"interrupted", "worker"})


@attrs.frozen
class Both:
    """A failure that both sides have.

    Attributes:
        found: in the patch; None if the patch was only seen to do it under the choices of the base.
        base: in the base; None if the base was only seen to do it under the choices of the patch.
        there: what the base does under the choices of `found`. Where it passes, that it is the same failure rests on
            rule and scene alone.
    """

    found: Found | None
    base: Found | None
    there: There


@attrs.frozen(kw_only=True)
class Compared:
    """Two searches.

    Attributes:
        own: failures of the patch that the base was not seen to have; harm first.
        mended: failures of the base that the patch was not seen to have. Both say "never" only of a side whose search
            is complete.
        both: of the two.
        tried: whether there was time to try each failure on the other side.
        interrupted: by the user. Before the patch was searched, `patch` is None, and nothing is compared.
    """

    patch: CampaignResult | None
    base: CampaignResult
    own: tuple[Found, ...]
    mended: tuple[Found, ...]
    both: tuple[Both, ...]
    tried: bool = True
    interrupted: bool = False


#: Of the time that the base left, for the search of the patch; the rest is for tries and reports.
_SHARE: Final = 0.75


def identity(failure: Failure) -> Hashable:
    """The values that two failures have in common if they are the same, whatever version shows them.

    A known finding is the same wherever its pattern fits. Else it is the rule with: of a deadlock, the operations in
    its circle, with class and mode of each lock; of others, the kind of event or exception, the place at which the
    exception was raised, the hardware's flag, and operation and outcome of the task whose step showed it.
    """
    scene = failure.scene
    finding = None if scene is None else _pattern(failure, scene)
    if finding is not None:
        return ("finding", finding)
    operations = {} if scene is None else {party.task: party.operation for party in scene.parties}
    details = failure.details
    stuck = details.get("wait_for")
    if isinstance(stuck, WaitFor) and stuck.cycle:
        edges = sorted(
            (operations.get(edge.task, ""), class_of(edge.on), edge.mode, edge.as_holder, edge.behind_mode)
            for edge in stuck.cycle
        )
        return (failure.rule, *edges)
    operation = details.get("operation", operations.get(failure.task, ""))
    return (
        failure.rule,
        failure.kind,
        failure.place,
        *(str(details.get(name, "")) for name in ("flag", "outcome")),
        operation,
    )


def _pattern(failure: Failure, scene: Scene) -> str | None:
    """The finding whose pattern it fits, also on a version that is not known to have it."""
    return next(
        (
            ident
            for ident, one in FINDINGS.items()
            if any(pattern.fits(failure, scene) for pattern in one.patterns)
        ),
        None,
    )


def search_against(
    campaign: Campaign,
    base: ScenarioProgram,
    *,
    seconds: Callable[[], float | None] = lambda: None,
    watch: Callable[[Program], Callable[[Progress], object] | None] = lambda _program: None,
) -> Compared:
    """Search `base`, then the campaign's program, both to the end; and compare.

    Args:
        campaign: of the patch; `keep_going` and `key` do not count.
        seconds: asked before each search and each try: how much time it has; None: no limit.
        watch: gives what shows the progress of a search.
    """
    campaign = attrs.evolve(campaign, keep_going=True, key=identity)

    def searched(program: Program, share: float) -> CampaignResult:
        left = seconds()
        own = None if left is None else left * share
        limits = attrs.evolve(campaign.limits, seconds=own)
        # A run that has no end does not look at limits.
        with deadline(None if own is None else own + LATE):
            return run_past_choices(attrs.evolve(campaign, program=program, limits=limits), watch(program))

    first = searched(base, 0.4)
    if first.search.stopped in _ENDED:
        interrupted = first.search.stopped == "interrupted"
        return Compared(
            patch=None, base=first, own=(), mended=(), both=(), tried=False, interrupted=interrupted
        )
    return _Comparison(campaign, base, seconds).of(searched(campaign.program, _SHARE), first)


class _Comparison:
    """Tries failures of one side on the other, as long as time is left and nobody interrupts."""

    def __init__(
        self, campaign: Campaign, base: ScenarioProgram, seconds: Callable[[], float | None]
    ) -> None:
        self._patch = campaign.program
        self._base = base
        self._steps = campaign.limits.steps
        self._seconds = seconds
        self._tried = True
        self._interrupted = False

    def of(self, patch: CampaignResult, base: CampaignResult) -> Compared:
        """Sort the failures of both."""
        self._interrupted = patch.search.stopped == "interrupted"
        here = {identity(found.failure): found for found in patch.search.found}
        there = {identity(found.failure): found for found in base.search.found}
        own: list[Found] = []
        mended: list[Found] = []
        both: list[Both] = []
        for key, found in here.items():
            does = self._there(self._base, found)
            if key in there or does == "fails alike":
                both.append(Both(found, there.get(key), does))
            else:
                own.append(found)
        for key, found in there.items():
            if key in here:
                continue
            if self._there(self._patch, found) == "fails alike":
                both.append(Both(None, found, "fails alike"))
            else:
                mended.append(found)
        return Compared(
            patch=patch,
            base=base,
            own=tuple(own),
            mended=tuple(mended),
            both=tuple(both),
            tried=self._tried,
            interrupted=self._interrupted,
        )

    def _there(self, program: Program, found: Found) -> There:
        left = self._seconds()
        if self._interrupted or left == 0.0:
            self._tried = False
            return "not tried"
        try:
            with deadline(left, again=False):
                return under_the_same_choices(program, found, self._steps)
        except KeyboardInterrupt as stop:
            self._tried = False
            self._interrupted = not isinstance(stop, TimeUp)
            return "not tried"


def under_the_same_choices(program: Program, found: Found, max_steps: int) -> There:
    """What a program does under the choices of a failure of another, as far as they fit."""
    again = attempt(
        leaving_out(program, found.without), LenientReplay(found.tape), max_steps=max_steps
    ).failure
    if again is None or again.rule == "step_limit":
        # A run that meets the limit under choices that were made for another program says nothing.
        return "passes"
    return "fails alike" if identity(again) == identity(found.failure) else "fails otherwise"
