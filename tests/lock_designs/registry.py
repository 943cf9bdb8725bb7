"""The designs, what they are searched with, and the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.rwsem_age import AGES
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.judges.races import GuardedBy, HappensBefore
from gmemsim.explore.judges.waiting import BoundedWaiting
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy

from .cohort import CohortLock
from .counting import AnnouncedWriter, IntentLock, Monitor
from .distributed import BigReader, Bravo, NeutralIndicators, WriterFirstIndicators
from .futexes import FutexMutex, FutexRwLock
from .kernel_locks import FolioBit, KernelMutex, QueuedRw, SleepingRwSem, aged
from .lab import CLAIM, DATA, design_lab
from .policies import BatchFair, BoundedOvertaking, LastComeFirst
from .queues import ClhLock, McsLock
from .semaphores import BinarySemaphore, CourtoisReaders, CourtoisWriters, Turnstile
from .seqlock import SeqLock, seqlock_lab
from .spinning import Bakery, BiasedRwLock, QueuedRwWord, TestAndTestAndSet
from .ticket import PhaseFairTicket, TaskFairTicket, TicketLock

if TYPE_CHECKING:
    from gmemsim.explore.runs import Program
    from gmemsim.explore.search import SearchResult

__all__ = ["DEEP_STRATEGIES", "DESIGNS", "STRATEGIES", "LockDesign", "search_design"]

#: What every design is searched with, in the suite and, with more schedules and two strategies more, beside it.
#: Bounding preemptions alone is of little use here: eight tasks have 40,320 orders without a preemption.
STRATEGIES: Final = ("random", "pos", "pct:3")
DEEP_STRATEGIES: Final = (*STRATEGIES, "portfolio", "stateful")

_LINUX: Final = "Linux, kernel/locking"


@attrs.frozen
class LockDesign:
    """One design.

    Attributes:
        name: for reader and command line.
        source: where it is from.
        lock: its class.
        family: designs of one family differ in their rules, not in how one waits.
        killable: how a waiter that is signalled leaves.
        bound: promised number of times that a sleeping waiter is passed over; None: none promised.
    """

    name: str
    source: str
    lock: Any
    family: str
    killable: str = "leaves the queue"
    bound: int | None = None

    @property
    def program(self) -> Program:
        """What is searched."""
        if issubclass(self.lock, SeqLock):
            return seqlock_lab(self.lock)
        return design_lab(self.lock)


def search_design(
    design: LockDesign, strategy: str, schedules: int, *, seed: int = 0, steps: int = 4_000
) -> SearchResult:
    """Search with all that looks at locks; a run that meets the limit of steps is carried on under fair turns."""
    observers = (GuardedBy([CLAIM]), HappensBefore(DATA), BoundedWaiting(_bounds(design)))
    limits = Limits(schedules=schedules, steps=steps)
    return search(design.program, make_strategy(strategy, seed), limits, observers=observers, judge=judge)


def _bounds(design: LockDesign) -> dict[str, int]:
    return {} if design.bound is None else {"lab": design.bound}


_ALWAYS_WAITS: Final = "is not killable"
_IN_TIME: Final = "does not queue"

_POLICIES: Final = (
    LockDesign(
        "rwsem", f"{_LINUX}/rwsem.c, as of 2026, one step an operation", LOCK_POLICIES["rwsem"], "rwsem"
    ),
    LockDesign("rwsem-sleeping", f"{_LINUX}/rwsem.c without RWSEM_SPIN_ON_OWNER", SleepingRwSem, "rwsem"),
    *(
        LockDesign(
            f"rwsem-{release}", f"{_LINUX}/rwsem.c, rules of {release}, step by step", aged(release), "rwsem"
        )
        for release in AGES
        if release != "2026"  # since 6.0 only what is counted has changed
    ),
    LockDesign("rwsem-rt", f"{_LINUX}/rwbase_rt.c", LOCK_POLICIES["rwsem-rt"], "rwsem"),
    LockDesign("percpu-rwsem", f"{_LINUX}/percpu-rwsem.c", LOCK_POLICIES["percpu"], "percpu", _ALWAYS_WAITS),
    LockDesign(
        "fifo", "Mellor-Crummey and Scott, PPoPP 1991, the policy", LOCK_POLICIES["fifo"], "policy", bound=0
    ),
    LockDesign(
        "reader-preferring",
        "Courtois et al. 1971, policy of problem 1",
        LOCK_POLICIES["reader-preferring"],
        "policy",
    ),
    LockDesign(
        "writer-preferring",
        "Courtois et al. 1971, policy of problem 2",
        LOCK_POLICIES["writer-preferring"],
        "policy",
    ),
    LockDesign(
        "phase-fair", "Brandenburg and Anderson 2009, the policy", LOCK_POLICIES["phase-fair"], "policy"
    ),
    LockDesign("mutex", f"{_LINUX}/mutex.c", KernelMutex, "exclusive", _ALWAYS_WAITS),
    LockDesign(
        "folio-lock", "Linux, mm/filemap.c, folio_wait_bit_common", FolioBit, "exclusive", _ALWAYS_WAITS
    ),
    LockDesign("qrwlock", f"{_LINUX}/qrwlock.c, one step an operation", QueuedRw, "queued", _ALWAYS_WAITS, 0),
)

_DESIGNS: Final = (
    LockDesign("semaphore", f"{_LINUX}/semaphore.c, down_killable", BinarySemaphore, "semaphores", bound=0),
    LockDesign("courtois-readers", "Courtois, Heymans and Parnas 1971, problem 1", CourtoisReaders, "semaphores"),
    LockDesign("courtois-writers", "Courtois, Heymans and Parnas 1971, problem 2", CourtoisWriters, "semaphores"),
    LockDesign("turnstile", "Downey, The Little Book of Semaphores, no-starve", Turnstile, "semaphores"),
    LockDesign("ticket", "Mellor-Crummey and Scott, TOCS 1991", TicketLock, "ticket", "gives its ticket up", 0),
    LockDesign("task-fair-ticket", "Mellor-Crummey and Scott, PPoPP 1991", TaskFairTicket, "ticket", _IN_TIME, 0),
    LockDesign(
        "phase-fair-ticket", "Brandenburg and Anderson 2010, PF-T; DPDK rte_pflock.h", PhaseFairTicket, "ticket",
        _IN_TIME, PhaseFairTicket.bound,
    ),
    LockDesign(
        "mcs", "Mellor-Crummey and Scott, TOCS 1991; MCS-TP, HiPC 2005", McsLock, "queue", "marks its node"),
    LockDesign("clh", "Craig 1993; CLH-NB, Scott, PODC 2002", ClhLock, "queue", "links its node out", 0),
    LockDesign("qrwlock-word", f"{_LINUX}/qrwlock.c, step by step", QueuedRwWord, "queued", _IN_TIME),
    LockDesign("ttas", "Rudolph and Segall, ISCA 1984", TestAndTestAndSet, "spinning", "ends its loop"),
    LockDesign("biased-rwlock", "Linux before 3.16, RW_LOCK_BIAS", BiasedRwLock, "spinning", "ends its loop"),
    LockDesign("bakery", "Lamport, CACM 1974", Bakery, "spinning", "clears its number"),
    LockDesign("futex-mutex", "Drepper, Futexes are tricky, Mutex 3", FutexMutex, "futex", "leaves if not woken"),
    LockDesign("futex-rwlock", "Rust std, sys/sync/rwlock/futex.rs", FutexRwLock, "futex", "leaves if not woken"),
    LockDesign(
        "announced-writer", "Go, src/sync/rwmutex.go", AnnouncedWriter, "counting", "until it has announced itself"
    ),
    LockDesign("intent", "bcachefs, six.c (2018)", IntentLock, "counting", "takes intent and claim back"),
    LockDesign("monitor", "after Birrell, SRC report 35, 1989", Monitor, "monitor", "leaves if not woken"),
    LockDesign("big-reader", "Linux brlock; Hsieh and Weihl, IPPS 1992", BigReader, "distributed"),
    LockDesign("c-rw-np", "Calciu et al., PPoPP 2013, neutral", NeutralIndicators, "distributed"),
    LockDesign("c-rw-wp", "Calciu et al., PPoPP 2013, writers first", WriterFirstIndicators, "distributed"),
    LockDesign("bravo", "Dice and Kogan, ATC 2019, around the rwsem", Bravo, "distributed"),
    LockDesign("cohort", "Dice, Marathe and Shavit, PPoPP 2012", CohortLock, "cohort"),
    LockDesign(
        "bounded-overtaking", "bounded bypass (Raynal 1986), of writers by readers", BoundedOvertaking, "policy",
        bound=BoundedOvertaking.bound,
    ),
    LockDesign("batch-fair", "phases of all readers, then two writers", BatchFair, "policy"),
    LockDesign("last-come-first", "cf. Dice, Malthusian locks, EuroSys 2017", LastComeFirst, "policy"),
    LockDesign("seqlock", "Linux, include/linux/seqlock.h", SeqLock, "sequence", "no killable waiter", 0),
)  # fmt: skip

#: By name: the model's own locks first.
DESIGNS: Final = {design.name: design for design in (*_POLICIES, *_DESIGNS)}
