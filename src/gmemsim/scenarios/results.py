"""What the operations of a run came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import attrs

from ..actors.errno import ERRNOS

#: Host accesses that are no value.
FAILURES = frozenset({"SIGBUS", "SIGSEGV", "oom"})
#: What an operation can come to, beside `ok` and errnos.
OTHERS: Final = (
    *sorted(FAILURES), "dead", "error", "exception", "exit_fail_entry", "exit_hypercall", "exit_loop",
    "exit_memory_fault", "exit_mmio", "other_value", "short",
)  # fmt: skip
OUTCOMES: Final = frozenset({"ok", *OTHERS, *ERRNOS.values()})


_NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})


class Outcome(NamedTuple):
    """One operation's result.

    Attributes:
        outcome: `ok`, an errno name, `SIGBUS`, `exit_memory_fault`, …; of pages: the first that is not `ok`.
        values: what was read, a page each; or counts (`pages done`) where the call has one.
        tally: per page, how often each outcome; empty for one result.
        facts: what the call wrote back into its argument, or KVM into the exit, by the kernel's names.
    """

    outcome: str
    values: tuple[str, ...] = ()
    tally: tuple[tuple[str, int], ...] = ()
    facts: Mapping[str, Any] = _NO_FACTS


@attrs.frozen
class OpResult:
    """One executed operation.

    Attributes:
        call: stable call id, `1000 * round + id`.
        op: its name.
        lo, hi: pages, in the operation's unit.
        outcome, values: see `Outcome`.
        began, ended: logical stamps of the run; A came before B exactly if `A.ended < B.began`.
        exits: exits to the VMM for memory faults in between.
    """

    call: int
    op: str
    lo: int
    hi: int
    outcome: str
    values: tuple[str, ...]
    began: int
    ended: int
    exits: int = 0


class TaskResults:
    """What one task did.

    Attributes:
        rounds: completed.
        operations: every executed operation in order (empty if the run does not keep them).
        outcomes: `op` to outcome to count; an operation on pages counts pages.
        exits: exits to the VMM by reason.
        faults: stage-2 faults of its guest accesses.
        stopped: why it ended before its last round, or empty.
    """

    __slots__ = ("exits", "faults", "operations", "outcomes", "rounds", "stopped")

    def __init__(self) -> None:
        self.rounds = 0
        self.operations: list[OpResult] = []
        self.outcomes: dict[str, Counter[str]] = {}
        self.exits: Counter[str] = Counter()
        self.faults = 0
        self.stopped = ""

    def count(self, op: str, outcome: Outcome) -> None:
        """Add one operation to the tallies."""
        counter = self.outcomes.get(op)
        if counter is None:
            counter = self.outcomes[op] = Counter()
        if outcome.tally:
            for name, number in outcome.tally:
                counter[name] += number
        else:
            counter[outcome.outcome] += 1

    def as_dict(self) -> dict[str, object]:
        """For JSON: counts, no single operations."""
        return {
            "rounds": self.rounds,
            "outcomes": {op: dict(sorted(counts.items())) for op, counts in sorted(self.outcomes.items())},
            "exits": dict(sorted(self.exits.items())),
            "faults": self.faults,
            "stopped": self.stopped or None,
        }
