"""What a run came to, in one frozen object that renders as JSON or as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..actors.errno import errno_name
from ..actors.fault import RetPf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.locks.stats import LockStatistics
    from .session import Session


@attrs.frozen
class Violation:
    """Something that must not happen, in one line.

    Attributes:
        rule: `illegal_access`, `unexpected_outcome`, or the kind of error that ended the run.
        details: what the text speaks of; of an outcome `task`, `operation`, `outcome`.
    """

    rule: str
    text: str
    details: Mapping[str, str] = attrs.field(factory=dict, eq=False)


@attrs.frozen
class Summary:
    """Counts of one run.

    Attributes:
        events: by name.
        outcomes: how vCPU faults ended, exits and SIGBUS, by name; zero counts are left out.
        locks: per class.
        virtual_ns: time the run took; 0 in an exploring run.
        results: per task.
    """

    scenario: str
    patch: str
    arch: str
    release: str
    seed: int
    parameters: dict[str, int | str | bool]
    virtual_ns: int
    steps: int
    events: dict[str, int]
    outcomes: dict[str, int]
    locks: tuple[LockStatistics, ...]
    results: dict[str, dict[str, object]]
    violations: tuple[Violation, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = attrs.asdict(self, recurse=False)
        found["locks"] = {
            row.name: {
                mode: attrs.asdict(statistics)
                for mode, statistics in (("read", row.read), ("write", row.write))
            }
            for row in self.locks
        }
        found["violations"] = [
            {"rule": violation.rule, "text": violation.text} for violation in self.violations
        ]
        return found


def make_summary(session: Session) -> Summary:
    """The summary of a session as it is now."""
    counter = session.counter
    return Summary(
        scenario=session.workload.head.name,
        patch=session.patch.name,
        arch=session.vm_type,
        release=session.release.name,
        seed=session.seed,
        parameters=dict(session.workload.parameters),
        virtual_ns=session.engine.now,
        steps=session.engine.steps,
        events={} if counter is None else counter.counts(),
        outcomes=_outcomes(session),
        locks=tuple(session.locks()),
        results={name: results.as_dict() for name, results in session.results.items()},
        violations=tuple(session.violations),
    )


def _rank(ret: Any) -> int:
    """For sorting; a broken patch may return something that is no number."""
    return ret if isinstance(ret, int) else 0


def _named(ret: Any) -> str:
    return errno_name(ret) if isinstance(ret, int) else f"<{type(ret).__name__}>"


def _outcomes(session: Session) -> dict[str, int]:
    counter = session.counter
    if counter is None:
        return {}
    returns = dict(counter.returns)
    named = {
        "faults fixed": returns.pop(RetPf.FIXED, 0),
        "faults spurious": returns.pop(RetPf.SPURIOUS, 0),
        "faults emulated": returns.pop(RetPf.EMULATE, 0),
    }
    retried = returns.pop(RetPf.RETRY, 0)
    for reason in sorted(counter.retries):
        named[f"retry {reason}"] = counter.retries[reason]
    named["retry other"] = retried - sum(counter.retries.values())
    for ret in sorted(returns, key=_rank, reverse=True):
        named[f"faults {_named(ret)}"] = returns[ret]
    for ret in sorted(counter.exits, key=_rank, reverse=True):
        named[f"exit memory fault {_named(ret)}"] = counter.exits[ret]
    named["SIGBUS"] = counter.sigbus[False]
    named["SIGBUS hwpoison"] = counter.sigbus[True]
    return {name: count for name, count in named.items() if count}
