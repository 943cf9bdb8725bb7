"""What a campaign is asked and what it answers: values without a search of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .findings.table import apart
from .search import Limits
from .strategies import AUTO

if TYPE_CHECKING:
    from ..patches.entered import Entered
    from .classes import Coverage
    from .lock_graph import LockGraph
    from .runs import Program
    from .search import Key, SearchResult


@attrs.frozen(kw_only=True)
class Campaign:
    """What to search, and how.

    Attributes:
        program: pickled to other processes if `jobs` is above 1.
        strategy: as on the command line (`auto`, `pct:3`).
        seed: of everything random.
        limits: of `auto`, `states` is for its first part (None: `STATES`) and `schedules` for the second.
        keep_going: do not stop at the first violation.
        outcomes: count final outcomes.
        classes: count classes of equivalent schedules; costs about as much as the steps themselves. The lock-order
            graph is always drawn.
        key: of failures, the first with each of which is kept.
    """

    program: Program
    strategy: str = AUTO
    seed: int = 0
    limits: Limits = attrs.field(factory=Limits)
    jobs: int = 1
    keep_going: bool = False
    outcomes: bool = False
    classes: bool = True
    key: Key = apart

    @property
    def counts_classes(self) -> bool:
        """Whether classes are counted: a search that goes back to states of one run sees no whole schedules."""
        return self.classes and self.strategy.partition(":")[0] != "stateful"


@attrs.frozen(kw_only=True)
class CampaignResult:
    """What all batches together did and found; see `search.SearchResult`.

    Attributes:
        never_ran: functions of a user's patch that no run entered.
        errnos: what functions of a user's patch returned that they return in no version, a sentence each.
    """

    search: SearchResult
    coverage: Coverage | None
    lock_graph: LockGraph
    never_ran: tuple[str, ...] = ()
    errnos: tuple[str, ...] = ()


@attrs.frozen
class Progress:
    """Where a campaign stands.

    Attributes:
        phase: what it is doing, if that is not searching.
    """

    schedules: int
    classes: int
    depth: int
    seconds: float
    states: int = 0
    phase: str = ""


@attrs.frozen
class Batch:
    """What comes back from one batch; picklable."""

    number: int
    result: SearchResult
    counts: dict[int, int]
    graph: LockGraph
    entered: Entered
