"""The oracles of one run: give them to the engine as `rec`.

    oracles = Oracles(world, kernel)
    engine = Engine(strategy, rec=oracles)
    ... spawn tasks, run ...
    oracles.finish()

A run without oracles pays nothing, because nothing calls them. Whoever drives workload operations may also
call `begin(task)` and `end(task)` around each: then locks left behind are seen at once, and whenever nothing
else is in flight the checks that need rest run on what was touched.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..engine.blame import blame, said
from ..engine.locks.kinds import sleeps
from ..patches.entered import note_entered
from .attributes import Attributes
from .bindings import Bindings
from .dirty import DirtyPages
from .eagain import Causes
from .exact import Exact, LookedAt
from .filemap import Filemap
from .freed import Freed
from .hardware import Hardware
from .huge import HugePages
from .invalidation import Invalidations
from .ledger import SLEEPING, Ledger
from .levels import Levels
from .locks import Locks
from .own import Oracle, OracleError, guarded, rules_of
from .poison import Poison
from .populate import Populating
from .preparation import Preparation
from .private import Privacy
from .references import References
from .restructured import Restructured
from .rules import RULES
from .sptes import Sptes
from .violation import Note, Violation
from .watch import watches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..actors.kernel import Kernel
    from ..actors.vm import World
    from ..audit.base import Event
    from ..audit.events import Lock
    from ..engine.task import Task
    from .watch import Subject, Watch

    Check = Callable[[Task, Any], None]
    Checks = tuple[Check, ...]

#: In the order in which their bookkeeping runs.
SUBJECTS: tuple[type[Subject], ...] = (
    Locks,
    HugePages,
    Filemap,
    Preparation,
    Restructured,
    References,
    Sptes,
    Levels,
    Invalidations,
    Freed,
    Bindings,
    Privacy,
    Attributes,
    Causes,
    DirtyPages,
    Poison,
    Populating,
    Hardware,
)

#: A run that collects stops collecting here; one broken invariant tends to break others at every step.
_MANY = 200


def checks_of(rule: str) -> list[str]:
    """Names of the checks that implement a rule, as `Subject.method`."""
    return [
        f"{cls.__name__}.{name}" for cls in SUBJECTS for name, watch in watches(cls) if watch.rule == rule
    ]


class _Plan:
    """Who looks at which event, for one set of rules: made once, and bound to the subjects of a run on demand.

    A check is the number of its subject in `SUBJECTS` and the name of its method; the kinds of lock that it wants
    come first, none meaning all.
    """

    __slots__ = ("_by_kind", "by_event", "rest")

    def __init__(self, rules: frozenset[str], subjects: tuple[type[Subject], ...]) -> None:
        marked: dict[str, list[tuple[Watch, int, str]]] = {"before": [], "track": [], "after": []}
        self.rest: list[tuple[int, str]] = []
        for number, cls in enumerate(subjects):
            for name, watch in watches(cls):
                if watch.rule and watch.rule not in rules and not watch.rule.startswith("arch:"):
                    continue
                if watch.phase == "rest":
                    self.rest.append((number, name))
                else:
                    marked[watch.phase].append((watch, number, name))
        self.by_event: dict[type[Event], list[tuple[frozenset[str], int, str]]] = {}
        for phase in marked.values():
            for watch, number, name in phase:
                for event in dict.fromkeys(watch.events):
                    self.by_event.setdefault(event, []).append((watch.locks, number, name))
        self._by_kind: dict[tuple[type[Event], str, bool], tuple[tuple[int, str], ...]] = {}

    def chooses(self, event: type[Event]) -> bool:
        """Whether some check of that event wants certain kinds of lock only."""
        return any(kinds for kinds, _, _ in self.by_event[event])

    def of_kind(self, event: type[Event], kind: str, sleeping: bool) -> tuple[tuple[int, str], ...]:
        """The checks of a lock event, by kind of lock and whether it sleeps."""
        found = self._by_kind.get((event, kind, sleeping))
        if found is None:
            found = self._by_kind[event, kind, sleeping] = tuple(
                (number, name)
                for kinds, number, name in self.by_event[event]
                if not kinds or kind in kinds or (sleeping and SLEEPING in kinds)
            )
        return found


_plan = cache(_Plan)


def _made(cls: type[Subject], oracles: Oracles) -> Subject:
    try:
        return cls(oracles)
    except Exception as error:
        if not issubclass(cls, Oracle):
            raise
        raise OracleError(f"{blame(error) or cls.__name__}: {said(error)} (making {cls.__name__})") from error


def _bound(subject: Subject, name: str) -> Callable[..., None]:
    check: Callable[..., None] = getattr(subject, name)
    return guarded(check, note_entered) if isinstance(subject, Oracle) else check


class _ByLock(dict[str, "Checks"]):
    """Checks of a lock event by the lock's label, for those that want only some kinds of lock."""

    __kept__ = True

    def __init__(self, table: _Table, event: type[Event]) -> None:
        super().__init__()
        self._table = table
        self._event = event

    def __missing__(self, label: str) -> Checks:
        table = self._table
        kind, owner = table.ledger.kind(label)
        found = table.bind(table.plan.of_kind(self._event, kind, sleeps(label) is True))
        if owner:
            self[label] = found  # else it may become known as a lock of something that is made later
        return found


class _Table(dict[type["Event"], "Checks | None"]):
    """Checks by type of event, bound when the first event of a type comes; lock events are in `by_lock`."""

    #: Grows as events are met, but says the same whenever asked: no state.
    __kept__ = True

    def __init__(self, plan: _Plan, subjects: tuple[Subject, ...], ledger: Ledger) -> None:
        super().__init__()
        self.plan = plan
        self.ledger = ledger
        self.by_lock: dict[type[Event], _ByLock] = {}
        self._subjects = subjects

    def bind(self, checks: Iterable[tuple[int, str]]) -> Checks:
        """Methods of this run's subjects."""
        return tuple(_bound(self._subjects[number], name) for number, name in checks)

    def __missing__(self, event: type[Event]) -> Checks | None:
        plan = self.plan
        if event not in plan.by_event:
            found: Checks | None = ()
        elif plan.chooses(event):
            self.by_lock[event] = _ByLock(self, event)
            found = None
        else:
            found = self.bind((number, name) for _, number, name in plan.by_event[event])
        self[event] = found
        return found


class Oracles:
    """Checks of all applicable invariants, dispatched by type of event.

    Args:
        world, kernel: what runs; the world may have run before.
        collect: gather violations instead of raising the first.
        rules: ids to check; default: all. Those that do not apply to the patch version are left out.
        without: ids not to check, flags of hardware (`arch:…`) included.
        then: a recorder that gets every event first, so that the log ends with the one that broke a rule.
        own: classes of the user's (`own`), whose rules are looked after as well.

    Attributes:
        violations: what was found, in order; with `collect` False at most one.
        notes: odd but allowed events.
        skipped: rule id and reason for every rule that does not apply to this kernel.
    """

    exact: ClassVar[Exact] = Exact(
        caching=True,
        reduction=False,
        why="the ledger is state; a check may look at more than the step that it runs in says that it touches",
    )

    def __init__(
        self,
        world: World,
        kernel: Kernel,
        *,
        collect: bool = False,
        rules: Iterable[str] | None = None,
        without: frozenset[str] = frozenset(),
        then: Callable[[Task, Any], None] | None = None,
        own: tuple[type[Oracle], ...] = (),
    ) -> None:
        self.world = world
        self.kernel = kernel
        self.collect = collect
        self.then = then
        self.violations: list[Violation] = []
        self.notes: list[Note] = []
        self.skipped = {ident: why for ident, rule in RULES.items() if (why := rule.void(kernel))}
        wanted = set(RULES) if rules is None else set(rules)
        if wanted - set(RULES):
            raise ValueError(f"no such rule: {', '.join(sorted(wanted - set(RULES)))}")
        self.without = without
        mine = {rule.ident: rule for cls in own for rule in cls.rules}
        self.skipped |= {ident: why for ident, rule in mine.items() if (why := rule.void(kernel))}
        self.rules = frozenset((wanted | mine.keys()) - set(self.skipped) - without)
        self.own = own
        self.ledger = Ledger(world, kernel)
        self.events = 0
        self._seen: set[tuple[str, str]] = set()
        self._in_flight = 0
        #: The parts, each with its own memory of the run.
        self.subjects = tuple(_made(cls, self) for cls in (*SUBJECTS, *own))
        plan = _plan(self.rules, (*SUBJECTS, *own))
        self._table = _Table(plan, self.subjects, self.ledger)
        self._rest: Sequence[Callable[[bool], None]] = [
            _bound(self.subjects[number], name) for number, name in plan.rest
        ]

    def __call__(self, task: Task, event: Event) -> None:
        """Look at one audit event; this is the engine's `rec`.

        Raises:
            Violation: a rule is broken, and `collect` is False.
        """
        self.events += 1
        if self.then is not None:
            self.then(task, event)
        checks = self._table[event.__class__]
        if checks is None:
            checks = self._table.by_lock[event.__class__][cast("Lock", event).lock]
        for check in checks:
            check(task, event)

    def looked_at(self) -> list[LookedAt]:
        """Who looks after which rules, the hardware's flags with the invariants."""
        mine = [(cls, sorted(rules_of(cls) & self.rules)) for cls in self.own]
        ours = self.rules.difference(*(rules for _, rules in mine))
        return [
            LookedAt((*ours, "arch"), self.exact),
            *(LookedAt(tuple(rules), cls.exact) for cls, rules in mine if rules),
        ]

    def might_sleep(self, task: Task, what: str) -> None:
        """For `Engine.on_might_sleep`."""
        for subject in self.subjects:
            if isinstance(subject, Locks):
                subject.might_sleep(task, what)

    def fail(self, rule: str, summary: str, task: Task | None, event: Event | None, **details: Any) -> None:
        """Report a broken rule: raise, or with `collect` remember it (each rule and summary once)."""
        if rule in self.without or (rule, summary) in self._seen or len(self.violations) >= _MANY:
            return
        self._seen.add((rule, summary))
        name, call, now = ("-", 0, 0) if task is None else (task.name, task.call, task.engine.now)
        found = Violation(rule, summary, name, event, details, call=call, number=self.events, now=now)
        self.violations.append(found)
        if not self.collect:
            raise found

    def note(self, kind: str, summary: str, task: Task, **details: Any) -> None:
        """Remember something odd but allowed (each kind and summary once)."""
        if (kind, summary) not in self._seen:
            self._seen.add((kind, summary))
            self.notes.append(Note(kind, summary, task.name, details))

    # -- operations and rest -------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """`task` starts a workload operation."""
        doing = self.ledger.of(task)
        if not doing.busy:
            doing.busy = True
            self._in_flight += 1

    @property
    def alone(self) -> bool:
        """At most one operation is in flight."""
        return self._in_flight <= 1

    def end(self, task: Task) -> None:
        """`task` finished its operation and must hold nothing; if nobody is busy, the world is at rest.

        A kernel worker is busy as long as it is there, and may have a reference of its own in hand.
        """
        doing = self.ledger.of(task)
        if doing.busy:
            doing.busy = False
            doing.pfn_seq = None
            self._in_flight -= 1
        self._left_behind(task)
        if not self._in_flight and not task.engine.workers:
            self._look(full=False)

    def finish(self) -> None:
        """The run ended normally: every task must hold nothing, and everything must be in order at rest."""
        for task in list(self.ledger.doing):
            if not task.daemon:
                self._left_behind(task)
        self._look(full=True)

    def _look(self, *, full: bool) -> None:
        for check in self._rest:
            check(full)
        self.ledger.touched.clear()

    def _left_behind(self, task: Task) -> None:
        doing = self.ledger.of(task)
        if doing.held and "I9" in self.rules:
            locks = ", ".join(doing.held)
            self.fail(
                "I9", f"an operation of {task.name} ended holding {locks}", task, None, locks=list(doing.held)
            )
        if doing.invalidations and "I15" in self.rules:
            vms = [invalidation.vm for invalidation in doing.invalidations]
            self.fail(
                "I15",
                f"an operation of {task.name} ended with an invalidation of {', '.join(vms)} open",
                task,
                None,
                vms=vms,
            )
