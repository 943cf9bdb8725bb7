"""How much of the schedule space a search has seen: distinct classes of equivalent schedules.

Two schedules are equivalent when one becomes the other by swapping neighbouring steps that do not depend on each other
(Mazurkiewicz traces); everything that the model can show is the same in both. A class is identified by a 64-bit
fingerprint: the sum of a hash per step, where a step's hash covers its task, its operation and the hashes of the steps
before it that it depends on. Equal classes have equal fingerprints; unequal ones collide with probability 2^-64 a pair.

How many classes there are is not known unless a search completed. For a random strategy two estimates from species
counting say how far it got: the Good-Turing coverage (the chance that the next run shows a class seen before) and the
Chao1 lower bound of the number of classes. Both assume runs drawn from one distribution, which a portfolio and a
systematic search do not do.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ..engine.op import Op
    from ..engine.task import Task
    from .failure import Failure
    from .runs import Run

_MASK = (1 << 64) - 1


@attrs.frozen
class Coverage:
    """What a search has seen.

    Attributes:
        runs: schedules that ran to an end.
        distinct: classes among them.
        once: classes seen in exactly one run.
        twice: classes seen in exactly two.
    """

    runs: int
    distinct: int
    once: int
    twice: int

    @property
    def seen_before(self) -> float:
        """Good-Turing: estimated chance that one more random run falls into a class seen already."""
        return 1 - self.once / self.runs if self.runs else 0.0

    @property
    def at_least(self) -> int:
        """Chao1: estimated lower bound of the number of classes that random runs can reach."""
        return self.distinct + self.once * (self.once - 1) // (2 * (self.twice + 1))


class ClassCounter:
    """Observer of a search (`search.Observer`) that counts classes.

    Attributes:
        counts: runs by fingerprint. Counters of several processes merge by adding these.
    """

    __kept__ = ("counts", "_names")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self._names: dict[object, int] = {}
        self._forget()

    def _forget(self) -> None:
        self._sum = 0
        self._last: dict[Task, int] = {}
        #: Per object: earlier accesses that a later one can depend on, as (lo, hi, writes, hash).
        self._seen: dict[str, list[tuple[int, int, bool, int]]] = {}

    def attach(self, run: Run) -> None:
        """Watch the run's steps."""
        self._forget()
        run.engine.watch_steps(self._step)

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """Count its class; a pruned run has none."""
        if pruned:
            return
        fingerprint = self._sum
        turns: dict[str, int] = {}
        for name, call, label, value, _ in run.engine.tape.raw:
            if label != "sched" and value:
                turns[name] = turn = turns.get(name, 0) + 1
                fingerprint += hash((self._name(name), call, self._name(label), value, turn))
        fingerprint &= _MASK
        self.counts[fingerprint] = self.counts.get(fingerprint, 0) + 1

    @property
    def distinct(self) -> int:
        """Classes seen."""
        return len(self.counts)

    def coverage(self) -> Coverage:
        """Where the search stands."""
        values = list(self.counts.values())
        return Coverage(sum(values), len(values), values.count(1), values.count(2))

    def _step(self, task: Task) -> None:
        op: Op = task.pending
        writes = op.mode != "r"
        lo, hi = op.lo, op.hi
        seen = self._seen.get(op.obj)
        if seen is None:
            seen = self._seen[op.obj] = []
        before = 0
        covered = False
        for first, end, wrote, value in seen:
            if first < hi and lo < end and (writes or wrote):
                before += value
                covered = True
        step = hash((self._name(task.name), self._name(op), self._last.get(task, 0), before & _MASK))
        self._last[task] = step
        self._sum += step
        if writes and covered:
            # A write hides what it covers entirely: later steps depend on the write, which depends on them.
            seen[:] = [access for access in seen if not (lo <= access[0] and access[1] <= hi)]
        seen.append((lo, hi, writes, step))

    def _name(self, thing: object) -> int:
        """A number for a name or operation that is the same in every process."""
        known = self._names.get(thing)
        if known is None:
            digest = blake2b(repr(thing).encode(), digest_size=8).digest()
            known = self._names[thing] = int.from_bytes(digest, "big")
        return known
