"""What following a trace came to."""

from __future__ import annotations

import attrs


@attrs.frozen
class Window:
    """The shortest end of a trace that is refused at the same event for the same reason when it is followed alone.

    Attributes:
        first, last: lines of its first and last event; calls that were over before have lines between that are no part.
        calls: how many calls it consists of, those cut off at its end included.
        threads: who makes them.
        events: (line, thread, event).
        whole: it is all of the trace up to the refused event: no shorter end is refused, or there was no time to know.
    """

    first: int
    last: int
    calls: int
    threads: tuple[str, ...]
    events: tuple[tuple[int, str, str], ...]
    whole: bool = False


@attrs.frozen
class Rejection:
    """The first event that the model cannot take.

    Attributes:
        index: number of the event in the file, from 0.
        line: line of the file.
        event: the event as the trace shows it.
        reason: what the model could have done instead.
        thread: who did it.
        since: line of the thread's event before: the unobserved steps that the event depends on first of all lie
            between the two.
        otherwise: what it could have done there with other placements of unobserved steps.
        window: what of the trace shows it; None: it was not asked for, or the trace is undecided.
    """

    index: int
    line: int
    event: str
    reason: str
    thread: str
    since: int = 0
    otherwise: tuple[str, ...] = ()
    window: Window | None = None


@attrs.frozen
class FollowResult:
    """Verdict on one trace.

    Attributes:
        events: events in the file.
        matched: events that were matched one to one with events of the model.
        steps: steps that the model took.
        left_out: events that say nothing about the followed file, by name.
        unobserved: observations that the recording could not show (they count as silent steps).
        probes_from: whether the probe list came from the metadata or was inferred from the trace.
        notes: assumptions made for this trace.
        undecided: why the trace is neither accepted nor rejected: nothing in it says anything of the version, events
            were lost, or a limit ended the search.
        states: placements of the unobserved steps that were tried beyond the one that the rules choose.
    """

    trace: str
    patch: str
    release: str
    accepted: bool
    events: int
    matched: int
    steps: int
    rejected_at: Rejection | None
    left_out: dict[str, int]
    unobserved: tuple[str, ...]
    probes_from: str
    notes: tuple[str, ...] = ()
    undecided: str = ""
    states: int = 0
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """`accepted`, `undecided` or `rejected`."""
        return "accepted" if self.accepted else "undecided" if self.undecided else "rejected"
