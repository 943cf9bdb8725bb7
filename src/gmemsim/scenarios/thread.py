"""One thread of the workload: its rounds, its operations, and what it tells the session about them."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Final

from ..arch.memory import ZERO, data
from ..engine.op import Op
from .draws import keyed_number
from .errors import ScenarioError
from .handlers.registry import HANDLERS
from .ops import PageRange
from .results import OpResult, TaskResults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..actors.kernel import Kernel
    from ..actors.vm import Vcpu, Vm
    from ..engine.task import Task
    from .model import VmTable
    from .results import Outcome
    from .session import Session
    from .steps import Step
    from .units import Duration
    from .workload import Actor

#: Calls of one round: the id of an operation is below this.
CALLS = 1000

#: Rounds that a thread may end at one moment of virtual time: the watchdog of a timed run, which waits in that time, is
#: not reached while they go on. It takes a few seconds.
_STILL: Final = 50_000

#: Rounds without a step that a thread may end in a search, which makes such a run again and again.
_STEPLESS: Final = 2_000


class Thread:
    """What an operation can reach.

    Attributes:
        vm, vmm: the VM that the thread belongs to, and its VMM's rules.
        vcpu: of a vCPU thread.
        round: current round.
        results: what it did so far.
        doing, began: the operation under way, and its first stamp; None and 0 between two.
        exits_before: exits to the VMM for memory faults before it.
    """

    def __init__(self, session: Session, actor: Actor) -> None:
        self.session = session
        self.machine = session.machine
        self.kernel: Kernel = session.machine.kernel
        self.actor = actor
        self.vm: Vm = session.machine.vm(actor.vm)
        self.vmm: VmTable = session.workload.tables.vms[actor.vm]
        self.vcpu: Vcpu | None = self.vm.vcpus[actor.vcpu] if actor.vcpu >= 0 else None
        self._can_accept = hasattr(self.vm.arch, "guest_accept")
        self.round = 0
        self.results = TaskResults()
        self.doing: Step | None = None
        self.began = 0
        self.exits_before = 0

    async def run(self, t: Task) -> TaskResults:
        """All rounds; the body of the task."""
        actor = self.actor
        if actor.start is not None:
            await t.sleep(self.amount(actor.start, "start"))
        engine = t.engine
        # A search has no virtual time; there, rounds that take steps meet the limit of those.
        most = max(_STILL, engine.max_steps if engine.exploring else 0)
        still, now, stepless = 0, -1, 0
        mark: Op | None = None
        while await self._again(t):
            if engine.exploring:
                # Whatever is a step announces itself there.
                stepless = stepless + 1 if t.pending is mark else 0
                if stepless >= _STEPLESS:
                    raise self._no_time(stepless)
                t.pending = mark = Op("start", t.name)
            if engine.now != now:
                still, now = 0, engine.now
            elif still >= most:
                raise self._no_time(still)
            still += 1
            for step in actor.steps:
                await self.step(t, step)
                if self.results.stopped:
                    break
            else:
                self.round += 1
                self.results.rounds = self.round
                if actor.gap is not None:
                    t.call = self.round * CALLS
                    await t.sleep(self.amount(actor.gap, "gap"))
                continue
            break
        t.call = (self.round + 1) * CALLS
        for name in actor.barriers:
            await self.session.barriers[name].drop(t)
        if actor.background:
            await self.session.background.rmw(t, _decrement)
        return self.results

    def _no_time(self, rounds: int) -> ScenarioError:
        return ScenarioError(
            self.session.workload.tables.source.name,
            0,
            f"task {self.actor.name}.repeat",
            f"expected rounds that take virtual time, or fewer: {rounds:,} came to an end in none, and no limit "
            "of virtual time is met so",
        )

    async def _again(self, t: Task) -> bool:
        """Whether another round is due."""
        actor = self.actor
        limit = actor.repeat
        if limit is None:
            limit = self.session.until_rounds
        if limit is not None and self.round >= limit:
            return False
        if not actor.until:
            return True
        t.call = self.round * CALLS
        return await self.session.background.load(t) > 0

    async def step(self, t: Task, step: Step) -> Outcome:
        """One operation: call id, range, handler, bookkeeping."""
        session = self.session
        t.call = self.round * CALLS + step.ident
        armed = session.machine.armed
        t.touch_task("w")
        if self.actor.name in armed:
            armed.discard(self.actor.name)
            t.signal_pending = True
        else:
            # A signal that came between two system calls was handled there.
            t.signal_pending = False
        lo, hi = self.region(step)
        checker = session.checker
        if checker is not None:
            checker.begin(t)
        self.doing = step
        self.began = session.stamp()
        self.exits_before = self.results.exits["memory_fault"]
        outcome: Outcome = await HANDLERS[type(step.op)](self, t, step, lo, hi)
        began, ended = self.began, session.stamp()
        self.doing, self.began = None, 0
        if checker is not None:
            checker.end(t)
        if self.actor.name not in armed:
            t.signal_pending = False
        results = self.results
        results.count(step.op.name, outcome)
        if session.keep_results:
            results.operations.append(
                OpResult(
                    t.call, step.op.name, lo, hi, outcome.outcome, outcome.values, began, ended, self.exits
                )
            )
        if step.expect and outcome.outcome not in step.expect:
            session.unexpected(t, step, outcome)
        return outcome

    @property
    def exits(self) -> int:
        """Exits to the VMM for memory faults since the present operation began."""
        return self.results.exits["memory_fault"] - self.exits_before

    def must_accept(self, gfn: int) -> bool:
        """Whether the guest has to accept a private page before it may use it."""
        if self.vmm.accept in ("never", "on_exception") or not self._can_accept:
            return False
        return gfn not in self.machine.accepted[self.actor.vm].done

    def region(self, step: Step) -> tuple[int, int]:
        """The pages of this round."""
        return region_of(step, self.actor, self.round, self.session.seed)

    def amount(self, time: Duration, what: str) -> int:
        """A time from its range: fixed by seed, task and round."""
        if time.low == time.high:
            return time.low
        number = keyed_number(self.session.seed, self.actor.name, self.round, what)
        return time.low + number % (time.high - time.low + 1)

    def paces(self, time: Duration, call: int) -> Iterator[int]:
        """Times between the accesses of one call; cheap, as a call can have many."""
        low = time.low
        if low == time.high:
            return repeat(low)
        number = keyed_number(self.session.seed, self.actor.name, call, "pace")
        return self._drawn(low, time.high - low + 1, number)

    @staticmethod
    def _drawn(low: int, span: int, number: int) -> Iterator[int]:
        while True:
            # Knuth's 64-bit linear congruential generator; its upper bits are good enough for this.
            number = (number * 6364136223846793005 + 1442695040888963407) & 0xFFFF_FFFF_FFFF_FFFF
            yield low + (number >> 33) % span

    def fill(self, text: str, page: int) -> str:
        """A value to write, its placeholders filled in, as a content token."""
        return filled(text, self.actor.name, self.round, page)


def region_of(step: Step, actor: Actor, number: int, seed: int) -> tuple[int, int]:
    """The pages of round `number`: this instance's share, one chunk of it, or all."""
    lo, hi = step.lo, step.hi
    op = step.op
    if not isinstance(op, PageRange):
        return lo, hi
    if op.slice:
        count = hi - lo
        lo, hi = lo + actor.instance * count // actor.of, lo + (actor.instance + 1) * count // actor.of
    if op.chunk is not None and hi - lo >= op.chunk:
        chunks = (hi - lo) // op.chunk
        if op.pick == "random":
            salt = step.ident if op.reroll else 0
            number = keyed_number(seed, actor.name, number, "chunk", salt)
        lo += number % chunks * op.chunk
        hi = lo + op.chunk
    return lo, hi


def filled(text: str, task: str, number: int, page: int) -> str:
    """A value to write in round `number` of `task`, its placeholders filled in, as a content token; `zero` is zeros."""
    if text == ZERO:
        return ZERO
    if "{" in text:
        text = text.replace("{task}", task).replace("{round}", str(number)).replace("{page}", str(page))
    return data(text)


def _decrement(count: int) -> int:
    return count - 1
