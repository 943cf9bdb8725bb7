"""What is searched: something that can be built afresh, run under a strategy, and asked what came of it.

A `Program` makes `Run`s (`runs.py`). A strategy sees only the engine of a run; the search sees the run. Users meet
`ScenarioProgram`; tests search programs of a few lines with `TaskProgram`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import msgspec

from ..audit.recorder import fan_out
from ..engine import bare
from ..engine.engine import Engine
from ..oracles import Oracles
from ..oracles.every_rule import left_out
from ..oracles.exact import LookedAt
from ..oracles.own import adopted, checks_by_name
from ..patches.entered import fault_point, watch_overrides
from ..patches.no_state import check_reads
from ..patches.registry import load_patch
from ..scenarios.catalogue import comes_with_us
from ..scenarios.errors import ScenarioError
from ..scenarios.options import Options
from ..scenarios.own import load_operations, operations_in
from ..scenarios.session import build
from .failure import Failure
from .functions import functions_of
from .judges.deadlock import Cycles
from .observables import MOST, Tally, observe
from .runs import Program
from .state.symmetry import alike

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..actors.kernel import Kernel
    from ..actors.release import Release
    from ..audit.recorder import Rec
    from ..engine.strategy import Strategy
    from ..oracles.own import Oracle
    from ..patches.entered import Entered
    from ..scenarios.model import Scalar
    from ..scenarios.op_base import Op
    from ..scenarios.options import Checker
    from ..scenarios.scenario import Scenario
    from ..scenarios.session import Session
    from .judges.linearizability import PageHistories


def read_files(
    patch: str | type[Kernel], oracles: Iterable[str | type[Oracle]], operations: Iterable[str]
) -> None:
    """Read the users' files that are named, so that a scenario may use the operations in them.

    Raises:
        PatchError: one is not there, or not as it should be.
    """
    if isinstance(patch, str):
        load_patch(patch)
    adopted(oracles)
    load_operations(operations)


def _known(given: str | type[Oracle] | Iterable[str | type[Oracle]]) -> tuple[str | type[Oracle], ...]:
    """As given, so that another process finds them by name; that they are there is seen now, before `without` is."""
    names = (given,) if isinstance(given, str | type) else tuple(given)
    adopted(names)
    return names


@attrs.frozen(kw_only=True)
class ScenarioProgram:
    """A scenario on one patch version and VM type, with the oracles looking on.

    Attributes:
        patch: a version's name, `path/to/file.py:Class`, or the class itself.
        rules: ids of the invariants to check; None: all that apply, and what `ScenarioRun` watches beside them;
            empty: none.
        oracles: rules of the user's that are looked after as well (`oracles.own`): classes, or `path/to/file.py:Class`.
        operations: of users' files that the scenario uses (`scenarios.own`), each as `path/to/file.py:Class`; those of
            the patch's and of an oracle's file are known without.
        without: ids of rules that nobody is to look after (`oracles.every_rule.left_out`).
        observed: what the outcome is made of, in place of results and page cache; see `observables`.
        count_to: where counts of what is observed stop.
        The rest is as in `scenarios.session.build`.
    """

    scenario: Scenario
    patch: str | type[Kernel] = "v3"
    arch: str | None = None
    vcpus: int | None = None
    seed: int = 0
    release: str | Release | None = None
    parameters: dict[str, Scalar] | None = None
    small: bool = True
    policy: Any = None
    rules: frozenset[str] | None = None
    until_rounds: int | None = None
    oracles: tuple[str | type[Oracle], ...] = attrs.field(default=(), converter=_known)
    operations: tuple[str, ...] = ()
    without: frozenset[str] = attrs.field(default=frozenset(), converter=left_out)
    observed: frozenset[str] = frozenset()
    count_to: int = MOST

    @property
    def name(self) -> str:
        patch = self.patch if isinstance(self.patch, str) else self.patch.name
        return f"{self.scenario.name} on {patch}"

    @property
    def vm_types(self) -> tuple[str | None, ...]:
        """Of its VMs, each once; None: the first that the scenario is for."""
        tables = self.scenario.resolve(self.parameters, vcpus=self.vcpus, small=self.small).tables
        return tuple(dict.fromkeys(vm.type or self.arch for vm in tables.vms.values()))

    def build(self, strategy: Strategy, *, rec: Rec | None = None, max_steps: int = 20_000) -> ScenarioRun:
        """A fresh session, its initial state brought about.

        Raises:
            ScenarioError, PatchError: as `scenarios.session.build`.
        """
        options = Options(
            strategy=strategy,
            rec=rec,
            checker=self._checker(),
            count=False,
            max_steps=max_steps,
            policy=self.policy,
            until_rounds=self.until_rounds,
        )
        session = build(
            self.scenario,
            self.patch,
            self.arch,
            vcpus=self.vcpus,
            seed=self.seed,
            release=self.release,
            parameters=self.parameters,
            small=self.small,
            options=options,
        )
        if not any(actor.steps for actor in session.workload.actors):
            raise ScenarioError(
                self.scenario.source.name,
                0,
                "task",
                "none has an operation, so that nothing would be looked at",
            )
        return ScenarioRun(
            session,
            watch=self.rules is None,
            without=self.without,
            tally=Tally(self.observed, self.count_to),
        )

    def _checker(self) -> Callable[[Any, Any], Checker] | None:
        rules, own = self.rules, adopted(self.oracles)
        if rules is not None and not rules and not own:
            return None
        return partial(Oracles, rules=rules, without=self.without, own=own)


_Any = TypeVar("_Any", bound=Program)


def leaving_out(program: _Any, rules: frozenset[str]) -> _Any:
    """The program without these rules; of a program in Python nobody looks after any."""
    if not rules or not isinstance(program, ScenarioProgram):
        return program
    return cast("_Any", attrs.evolve(program, without=program.without | rules))


def classes_of(program: Program) -> list[type[Kernel]]:
    """The patch class that a program runs; none for a program in Python."""
    patch = getattr(program, "patch", None)
    if patch is None:
        return []
    return [load_patch(patch) if isinstance(patch, str) else patch]


def operations_of(program: Program) -> tuple[type[Op], ...]:
    """The user's operations that a program's scenario has, and those that were named for it."""
    if not isinstance(program, ScenarioProgram):
        return ()
    return operations_in(program.scenario.source.raw, program.operations)


def fault_points_of(program: Program) -> tuple[str, ...]:
    """Those that a user's scenario lets fire."""
    if not isinstance(program, ScenarioProgram) or comes_with_us(program.scenario):
        return ()
    workload = program.scenario.resolve(program.parameters, vcpus=program.vcpus, small=program.small)
    return tuple(map(fault_point, workload.faults))


def watched(program: Program) -> AbstractContextManager[Entered]:
    """Around runs of a program: what of the user's patch, rules and operations runs (`patches.entered`).

    Raises:
        PatchError: a rule or an operation asks for what a search does not have (`patches.no_state`).
    """
    own = adopted(getattr(program, "oracles", ()))
    operations = operations_of(program)
    check_reads((*own, *operations))
    also = (*checks_by_name(own), *(each.__name__ for each in operations), *fault_points_of(program))
    return watch_overrides(*classes_of(program), also=also, beside=(*own, *operations))


class ScenarioRun:
    """A `Run` around a session.

    Attributes:
        looked_at: the oracles of this run.
        without: rules that nobody looks after.

    Args:
        watch: beside the invariants, hold accesses against the locks that their fields claim, waiters against what
            their lock promises, and at the end the results against a sequential order.
    """

    def __init__(
        self,
        session: Session,
        *,
        watch: bool = False,
        without: frozenset[str] = frozenset(),
        tally: Tally | None = None,
    ) -> None:
        self.session = session
        self.without = without
        self.engine = session.engine
        self.tally = Tally(frozenset()) if tally is None else tally
        if self.tally.names:
            self.engine.rec = fan_out(self.tally.rec, cast("Rec | None", self.engine.rec))
            self.engine.roots.append(self.tally)
        self.engine.roots.append(session)
        if session.checker is not None:
            self.engine.roots.append(session.checker)
        #: Kernel functions of every task that had not ended when the run failed, outermost first.
        self.stacks: dict[str, tuple[str, ...]] = {}
        self.engine.at_failure.append(self._look)
        self.histories: PageHistories | None = None
        self.looked_at: list[LookedAt] = []
        checker = session.checker
        if isinstance(checker, Oracles):
            self.looked_at += checker.looked_at()
        if session.engine.exploring:
            Cycles().attach(session.engine)
        if watch:
            from .judges.linearizability import PageHistories
            from .judges.races import GuardedBy
            from .judges.waiting import BoundedWaiting

            if "linearizability" not in without:
                self.histories = PageHistories(session)
                self.engine.roots.append(self.histories)
            if "guarded_by" not in without:
                GuardedBy().attach(self)
                self.looked_at.append(LookedAt(("guarded_by",), GuardedBy.exact))
            if "bounded_waiting" not in without:
                BoundedWaiting().attach(self)
                self.looked_at.append(LookedAt(("bounded_waiting",), BoundedWaiting.exact))
            if self.histories is not None and self.histories.places:
                self.looked_at.append(LookedAt(("linearizability",), PageHistories.exact))

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Names of tasks that do the same."""
        return alike(self.session.workload)

    def _look(self) -> None:
        self.stacks = {task.name: functions_of(task)[0] for task in self.engine.tasks if not task.done}

    def run(self) -> None:
        self.session.run()

    def found(self) -> Failure | None:
        for violation in self.session.violations:
            if violation.rule in self.without:
                continue
            return Failure(violation.rule, violation.text, "end", details=dict(violation.details))
        return None if self.histories is None else self.histories.check()

    def outcome(self) -> str:
        """Every operation's result, then every file's page cache; or what is observed, as JSON."""
        if self.tally.names:
            return msgspec.json.encode(observe(self.session, self.tally)).decode()
        parts = []
        for name, results in self.session.results.items():
            calls = (
                f"{r.op}={r.outcome}{':' + ','.join(r.values) if r.values else ''}"
                for r in results.operations
            )
            parts.append(f"{name}({' '.join(calls)})")
        for inode in self.session.machine.inodes:
            pages = (
                f"{index}{'u' if folio.uptodate else ''}" for index, folio in sorted(inode.folios.items())
            )
            parts.append(f"{inode.label}[{' '.join(pages)}]")
        return " ".join(parts)


@attrs.frozen
class TaskProgram:
    """A program in Python: a function that spawns its tasks on an engine and returns how to read the outcome.

    Attributes:
        setup: called with a new engine for every run; what it returns is called after the run, and the `str` of
            that is the outcome.
        faults: how often each fault point may fire.
    """

    name: str
    setup: Callable[[Engine], Callable[[], object]]
    faults: dict[str, int] = attrs.field(factory=dict)

    def build(self, strategy: Strategy, *, rec: Rec | None = None, max_steps: int = 20_000) -> TaskRun:
        """A fresh engine. The tasks are spawned when it is run, so that watchers come first."""
        return TaskRun(
            self.setup, Engine(strategy, rec=fan_out(rec), faults=self.faults, max_steps=max_steps)
        )


class TaskRun:
    """A `Run` of a `TaskProgram`."""

    def __init__(self, setup: Callable[[Engine], Callable[[], object]], engine: Engine) -> None:
        self.engine = engine
        self._setup = setup
        self._outcome: Callable[[], object] = str

    def run(self) -> None:
        if not self.engine.tasks:
            self._outcome = self._setup(self.engine)
            self.engine.roots.append(self._outcome)
        bare.run(self.engine)

    def found(self) -> Failure | None:
        return None

    def outcome(self) -> str:
        return str(self._outcome())
