"""A run of a scenario on one patch version: build it, run it on either runtime, look at what came out."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from ..actors.lock_table import collect
from ..actors.release import RELEASES, Release
from ..actors.vm import World
from ..arch.cost_file import Costs, load_costs
from ..arch.costs import CostTable
from ..arch.platform_costs import cpus_of
from ..arch.registry import ARCHES, PROJECTIONS
from ..audit.recorder import fan_out
from ..engine import bare
from ..engine.blame import model_code
from ..engine.cell import Cell
from ..engine.engine import Engine
from ..engine.errors import EngineError
from ..engine.interrupts import steps_end, trio_listens
from ..engine.locks.kinds import Made, nobody_follows
from ..engine.unawaited import all_awaited
from ..nearest import hint
from ..patches.entered import note_fault
from ..patches.no_state import check_reads
from ..patches.registry import PatchError, check_instance, checked, load_patch
from ..patches.sources import ours
from .counting import EventCounter, subtract
from .draws import SeededDraws
from .errors import ScenarioError
from .launch_commands import check_launches, late_launches
from .options import Options, Runtime
from .own import is_own
from .rendezvous import Rendezvous
from .setup import bring_about
from .summary import Summary, Violation, make_summary
from .thread import Thread
from .units import Duration
from .watchdog import watch
from .world import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..actors.kernel import Kernel
    from ..arch.base import Arch
    from ..audit.recorder import Rec
    from ..engine.locks.stats import LockStatistics
    from ..engine.task import Task
    from .model import Scalar
    from .options import Checker
    from .results import Outcome, TaskResults
    from .scenario import Scenario
    from .steps import Step
    from .workload import Workload


class Session:
    """One run. Made by `build`, which has brought about the initial state already.

    Attributes:
        workload, patch, vm_type, release, seed: what is run.
        machine: VMs, files, memory, kernel.
        engine: of the measured part; the setup ran on one of its own at time 0.
        tasks: by name; empty until it starts.
        results: by task name, also while it runs.
        checker: what looks on, if anything does.
        violations: what was found wrong so far.
    """

    def __init__(
        self,
        workload: Workload,
        patch: type[Kernel],
        vm_type: str,
        release: Release,
        seed: int,
        costs: CostTable,
        options: Options,
    ) -> None:
        self.workload = workload
        self.patch = patch
        self.vm_type = vm_type
        self.release = release
        self.seed = seed
        self.keep_results = options.keep_results
        self.access_time = Duration(options.access_ns, options.access_ns)
        self.violations: list[Violation] = []
        strategy = options.strategy
        exploring = strategy is not None if options.exploring is None else options.exploring
        # Searches ask for no times of locks.
        self._made = None if exploring else Made()
        self._follow_locks()
        self.machine = Machine(
            workload,
            {**arches(), **PROJECTIONS},
            vm_type,
            lambda world, memory: patch(world, memory, release, costs),
            costs,
            options.policy,
        )
        check_instance(self.machine.kernel)
        for vm in late_launches(workload):
            self.machine.vm(vm).late_launch = True
        self.barriers = {name: Rendezvous(name, parties) for name, parties in workload.barriers.items()}
        background = sum(actor.background for actor in workload.actors)
        self.background: Cell[int] = Cell("scenario.background", background)
        self.tasks: dict[str, Task] = {}
        self._stamp = 0
        self._rec: object = None
        self.checker: Checker | None = None
        bring_about(self, options.rec)
        self._locks_before = self._lock_rows()
        if options.checker is not None:
            self.checker = options.checker(self.machine.world, self.machine.kernel)
        self.counter = EventCounter() if options.count else None
        counting = None if self.counter is None else self.counter.rec
        if exploring and not _all_ours(patch):
            check_reads((patch,))
        self.until_rounds = options.until_rounds if options.until_rounds or not exploring else 2
        self.engine = Engine(
            SeededDraws(seed, workload.faults) if strategy is None else strategy,
            exploring=exploring,
            # The checker comes last: the event that it objects to has been recorded and counted.
            rec=fan_out(*cast("tuple[Rec | None, ...]", (options.rec, counting, self.checker))),
            faults=workload.faults,
            max_steps=options.max_steps,
            wake_ns=costs.wake,
            cpus=None if exploring else cpus_of(costs, max(1, len(workload.actors))),
        )
        self.engine.on_fault = note_fault
        self.engine.on_might_sleep = getattr(self.checker, "might_sleep", None)
        self._threads = [Thread(self, actor) for actor in workload.actors]
        self.engine.ordered = self._of_users or not _all_ours(patch)
        self.results: dict[str, TaskResults] = {thread.actor.name: thread.results for thread in self._threads}
        self._max_virtual_ns = None if exploring else options.max_virtual_ns

    @property
    def threads(self) -> tuple[Thread, ...]:
        """The workload's threads, in the order of their tasks."""
        return tuple(self._threads)

    @property
    def _of_users(self) -> bool:
        """Whether rules or operations are a user's."""
        steps = (step for thread in self._threads for step in thread.actor.steps)
        return bool(getattr(self.checker, "own", ())) or any(is_own(step.op) for step in steps)

    # -- run -----------------------------------------------------------------------------------

    def start(self) -> Engine:
        """Spawn the tasks, once; `run` does it. For callers that drive the engine themselves."""
        if not self.tasks:
            self._follow_locks()
            self._rec = self.engine.rec
            for thread in self._threads:
                self.tasks[thread.actor.name] = self.engine.spawn(thread.actor.name, thread.run)
            if self._max_virtual_ns is not None:
                progress = None if self.counter is None else self.counter.progress
                self.engine.spawn("watchdog", watch, self._max_virtual_ns, progress, daemon=True)
        return self.engine

    def run(self, runtime: Runtime = "bare") -> Session:
        """Run to the end; the session itself, for chaining.

        Raises:
            Deadlock, StepLimit, TimeLimit, ModelError: the run ended badly; results and summary hold what
                there was. Also whatever a checker raises.
        """
        if runtime == "bare":
            try:
                with _watched(self.patch, self.engine, self._of_users):
                    bare.run(self.start())
                self._finish()
            finally:
                self._collect()
        else:
            import trio

            with trio_listens():
                trio.run(self.run_async)
        return self

    async def run_async(self) -> None:
        """Run inside a Trio program; cancelling the surrounding scope stops the run."""
        from ..engine import trio_runtime

        try:
            with _watched(self.patch, self.engine, self._of_users):
                await trio_runtime.run(self.start())
            self._finish()
        finally:
            self._collect()

    def _finish(self) -> None:
        check_instance(self.machine.kernel)  # once more: what a run has set on it
        for task in self.engine.tasks:
            name = (
                "traps" if task.traps != self.engine.exploring else "rec" if task.rec is not self._rec else ""
            )
            if name:
                raise PatchError(
                    f"{self.patch.name}: {task.name}.{name} was set: it is the engine's, and what the task did after "
                    "that nobody saw"
                )
        if self.checker is not None:
            self.checker.finish()

    def _collect(self) -> None:
        if self.checker is not None:
            found = [Violation(violation.rule, violation.summary) for violation in self.checker.violations]
        else:
            # Without a checker, what the hardware itself objected to.
            found = [
                Violation("illegal_access", f"{vm.label}: {flag} at pfn {pfn:#x}")
                for vm in self.machine.world.vms.values()
                for flag, pfn in vm.arch.flags
            ]
        self.violations += found

    def stamp(self) -> int:
        """The next logical time."""
        self._stamp += 1
        return self._stamp

    def unexpected(self, t: Task, step: Step, outcome: Outcome) -> None:
        """An operation came to something that its `expect` does not allow."""
        wanted = " or ".join(step.expect)
        text = f"{t.name} call {t.call}: {step.op.name} came to {outcome.outcome}, expected {wanted}"
        details = {"task": t.name, "operation": step.op.name, "outcome": outcome.outcome}
        self.violations.append(Violation("unexpected_outcome", text, details))

    # -- afterwards ----------------------------------------------------------------------------

    def _follow_locks(self) -> None:
        if self._made is None:
            nobody_follows()
        else:
            self._made.here()

    def _lock_rows(self) -> list[LockStatistics]:
        # Also of files that are gone: the world forgets an inode when it is evicted.
        world = World()
        world.vms = self.machine.world.vms
        world.processes = self.machine.world.processes
        world.inodes = {str(number): inode for number, inode in enumerate(self.machine.inodes)}
        return collect(world, () if self._made is None else self._made.classes)

    def locks(self) -> list[LockStatistics]:
        """Statistics of every lock class since the setup, by name."""
        rows = subtract(self._lock_rows(), self._locks_before)
        if self.engine.cpus is not None:
            rows += [cls.statistics() for cls in self.engine.cpus.classes.values()]
            rows.sort(key=lambda row: row.name)
        return rows

    def summary(self) -> Summary:
        """Counts, lock table and results as they are now."""
        return make_summary(self)


def arches() -> dict[str, type[Arch]]:
    """Arch actors by VM type, without projections."""
    return dict(ARCHES)


def _all_ours(patch: type[Kernel]) -> bool:
    return all(ours(cls) for cls in patch.__mro__[:-1])


@contextmanager
def _watched(patch: type[Kernel], engine: Engine | None = None, others: bool = False) -> Iterator[None]:
    """Around code of a patch: an exit is an error; in a user's patch so is a coroutine that nobody awaits.

    Args:
        engine: of a run, in which a user's code has to come back.
        others: rules or operations of the run are a user's.
    """
    with ExitStack() as stack:
        stack.enter_context(model_code())
        if others or not _all_ours(patch):
            stack.enter_context(all_awaited(goes_back=engine is not None and engine.kept, engine=engine))
            if engine is not None:
                stack.enter_context(steps_end(engine))
        yield


def _check_projections(workload: Workload, patch: type[Kernel], vm_type: str) -> None:
    """A projection is one of conversion in place, page by page.

    Raises:
        ScenarioError: the patch version does something else.
    """
    for vm in workload.tables.vms.values():
        kind = vm.type or vm_type
        if kind in PROJECTIONS and (not patch.in_place or patch.huge_pages):
            raise ScenarioError(
                workload.tables.source.name,
                0,
                "",
                f"VM type {kind} is a projection of conversion in place at 4 KiB; "
                f"patch {patch.name} is not such a version (inplace-v8, inplace and inplace-content are)",
            )


def build(
    scenario: Scenario,
    patch: str | type[Kernel] = "v3",
    arch: str | None = None,
    *,
    vcpus: int | None = None,
    seed: int = 0,
    release: str | Release | None = None,
    costs: CostTable | Costs | str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    small: bool = False,
    options: Options | None = None,
) -> Session:
    """Wire up a run and bring about its initial state.

    Args:
        scenario: from `load`, `loads` or `library.load_named`.
        patch: a version's name, `path/to/file.py:Class`, or the class itself.
        arch: VM type for VMs whose type the scenario leaves open; default: the first that it makes sense for.
        vcpus: short for `parameters={"vcpus": …}`.
        seed: of chunks, times and, in a timed run, of every draw.
        release: kernel release around the patch; default: the version's own.
        costs: virtual ns per operation: a table, one for every VM type, or the name of one (`arch/cost_file.py`);
            default: the cost table's defaults.
        parameters: in place of the scenario's defaults.
        small: start from its `[small]` values.
        options: strategy, recorder and the like.

    Raises:
        ScenarioError: the scenario is wrong, or makes no sense for this VM type or release.
        PatchError: no such patch, or one that defines what its version never calls.
        CostFileError: no such cost table.
    """
    options = options or Options()
    cls = load_patch(patch) if isinstance(patch, str) else checked(patch)
    workload = scenario.resolve(parameters, vcpus=vcpus, small=small)
    known = arches()
    wanted_types = scenario.head.vm_types
    # A projection has to be asked for; a VM that is one in the file asks for it.
    kinds = workload.tables.own_types or [kind for kind in wanted_types or known if kind in known]
    if arch in PROJECTIONS and not workload.tables.own_types and arch in (wanted_types or PROJECTIONS):
        kinds = [arch]
    if not kinds:
        wanted = ", ".join(wanted_types)
        message = f"there is no VM type of {wanted} here; expected one of: {', '.join(known)}"
        raise scenario.source.error(("scenario", "vm_types"), message)
    vm_type = kinds[0] if arch is None else arch
    if vm_type not in known and vm_type not in PROJECTIONS:
        # Not the scenario's fault: its file is not named.
        raise ScenarioError("", 0, "", f"no VM type {arch!r}; {hint(str(arch), known)}")
    if vm_type not in kinds:
        message = f"makes no sense for VM type {vm_type}; it is for: {', '.join(kinds)}"
        raise scenario.source.error(("scenario", "vm_types"), message)
    _check_projections(workload, cls, vm_type)
    check_launches(workload, vm_type, {**known, **PROJECTIONS})
    if not isinstance(release, Release):
        name = cls.default_release if release is None else release
        if name not in RELEASES:
            raise ScenarioError("", 0, "", f"no release {name!r}; expected one of: {', '.join(RELEASES)}")
        release = RELEASES[name]
    if isinstance(costs, str):
        costs = load_costs(costs)
    if isinstance(costs, Costs):
        costs = costs.table(vm_type)
    with _watched(cls):
        return Session(workload, cls, vm_type, release, seed, costs or CostTable.default(), options)


def finish(session: Session, runtime: Runtime = "bare") -> None:
    """Run to the end; an error of the engine (deadlock, limit) is something that was found: a violation."""
    try:
        session.run(runtime)
    except EngineError as error:
        name = type(error).__name__
        rule = "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
        session.violations.append(Violation(rule, str(error)))
