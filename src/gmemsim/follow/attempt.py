"""Drive the model along a trace.

Every kernel thread is a model task that makes the calls cut from its part of the trace. The events of the trace are
taken in order; for each, the thread's task runs until it shows an event of its own, and the two must agree. What
lies between two events of a thread is silent: the model's steps there may be placed anywhere between the two, as the
kernel's were. Three rules place them:

* a step that changes something (a store, a lock taken or given back) is put off until the thread's next event is
  due, or until another thread needs its effect (`advance_others`);
* a step that reads something is taken at the first moment at which it gives the outcome that the thread's future
  in the trace requires (`outcomes`); while it does not, the thread waits and is asked again after each change;
* nobody is let into a queue: a thread takes a lock when it can have it.

So an attempt looks for one placement. It can refuse a possible trace if the rules miss the one placement that fits
(then `search` departs from them); it never accepts an impossible one, since every event is the model's own.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..actors.release import RELEASES
from ..engine.engine import Engine
from ..engine.op import Op
from .calls import calls_of
from .comparison import Comparison
from .frames import Frames
from .hints import SILENT_LIMIT, Hints
from .initial import initial_pages, unseen_pages
from .lookahead import Lookahead
from .outcomes import FAULT_ENDS, Outcomes
from .outside import Outside
from .probes import HINTS, PROBES, Observation
from .recorder import TraceRecorder
from .release import Releasing
from .result import FollowResult, Rejection
from .thread import Rejected, Thread, kind_of
from .watch import observers
from .world import build_world, chosen_release

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ..actors.inode import HostMapping
    from ..actors.kernel import Kernel
    from ..engine.task import Task
    from .calls import Call
    from .trace import Step, Trace

#: Stands for whoever in the VMM drops page-table entries (MADV_DONTNEED, munmap), which no probe shows.
DROPPING: Final = "VMM"


class How(NamedTuple):
    """What is followed, and what the rules leave open.

    Attributes:
        turned: faults whose first look-up of the gfn's kind is placed otherwise than by default: 1 at the other end
            of its window, 2 at its end with the kind that a conversion in progress gives.
        begin_conversions: a conversion whose start no probe shows may be begun early for the sake of a retry.
        mapped: indices that the guest has mapped at the beginning; None: each page that can be there.
    """

    trace: Trace
    kernel_class: type[Kernel]
    release: str | None = None
    turned: Mapping[tuple[str, int], int] = MappingProxyType({})
    begin_conversions: bool = True
    mapped: frozenset[int] | None = frozenset()


class Attempt(Comparison, TraceRecorder, Outside, Releasing, Hints):
    """One attempt to follow a trace with one patch version."""

    def __init__(self, how: How) -> None:
        trace, kernel_class, release, self.turned, self.begin_conversions, mapped = how
        self.trace = trace
        self.suspect: tuple[str, int] | None = None
        self.release = RELEASES[chosen_release(trace, kernel_class, release)]
        self.frames = Frames()
        self.table = observers(self.frames)
        # A hook that the kernel does not have is shown too, so that a version that calls it is found out.
        self.probed = trace.probed | trace.absent
        pages = initial_pages(trace)
        present = {index: page.uptodate for index, page in pages.items()}
        if mapped is None:
            present = dict.fromkeys(unseen_pages(trace), True) | present
            mapped = frozenset(present)
        else:
            present = dict.fromkeys(mapped, True) | present
        self.setup = build_world(trace, kernel_class, self.release, present, mapped)
        for index, page in pages.items():
            folio = self.setup.gmem.inode.folios[index]
            self.frames.bind(folio.pfn, page.pfn, index)
        self.engine = Engine(
            self,
            exploring=True,
            rec=self.record,
            faults={"need_resched": 1 << 60, "need_resched_idle": 1 << 60},
        )
        self.kernel = self.setup.kernel
        self.patch = kernel_class.name
        self.matched = 0
        self.steps = 0
        self.lock_wanted = False
        self.position = -1
        #: Of the event that was refused, in the trace's steps.
        self.place = -1
        self.outside = 0
        self.notes: list[str] = []
        self.threads: dict[str, Thread] = {}
        self.by_task: dict[Task, Thread] = {}
        self.waiting: dict[str, list[Thread]] = {}
        self.locks_shown = {
            kind_of(step.thread)
            for step in trace.steps
            if step.kernel_name in ("down_read", "down_write", "up_read", "up_write")
        }
        self._make_threads()
        self.last_use = self.find_last_use(trace, self.threads)
        self.count = self.setup.gmem.count
        self.outcomes = Outcomes(self)

    def _make_threads(self) -> None:
        ends = [step.position for step in self.trace.steps if step.name == "mmu_inv_end"]
        skipped = 0
        for name in sorted(self.trace.threads):
            calls, early = calls_of(self.trace, name)
            skipped += early
            future = Lookahead(self.trace, name, ends)
            future.cursor = early
            thread = Thread(name, future, calls)
            if any(call.kind in ("fault", "prefault") for call in calls):
                self.setup.vcpu(name)
            if any(call.kind == "host_fault" for call in calls):
                self.setup.mapping(name)
            self._start(thread, self._body)
        self.dropping = Thread(DROPPING, Lookahead(self.trace, DROPPING, ends), [])
        self._start(self.dropping, self._drop_body)
        if skipped:
            self.notes.append(f"{skipped} events before the first call of their thread were passed over")

    def _start(self, thread: Thread, body: Callable[[Task, Thread], Coroutine[Any, Any, None]]) -> None:
        thread.task = self.engine.spawn(thread.name, body, thread)
        # Run up to the first trap, which waits for the first call.
        thread.task.send(None)
        self.threads[thread.name] = thread
        self.by_task[thread.task] = thread

    # -- the task of a thread ------------------------------------------------------------------

    async def _body(self, t: Task, thread: Thread) -> None:
        while True:
            await t.point(Op("call", thread.name))
            call = thread.call = thread.calls.popleft()
            t.call += 1
            await self._make_call(t, thread, call)
            thread.made, thread.call = call, None

    async def _drop_body(self, t: Task, thread: Thread) -> None:
        while True:
            await t.point(Op("call", thread.name))
            mapping, index = self.dropped
            await self.kernel.madvise_dontneed(t, mapping, index, index + 1)

    def drop(self, mapping: HostMapping, index: int) -> None:
        self.dropped = mapping, index
        self.step(self.dropping)
        while self.dropping.task.pending.kind != "call":
            self.step(self.dropping)

    async def _make_call(self, t: Task, thread: Thread, call: Call) -> None:
        kernel, setup = self.kernel, self.setup
        kind, args = call.kind, call.args
        if kind == "fault":
            await kernel.handle_ept_violation(t, setup.vcpu(thread.name), args[0], None)
        elif kind == "prefault":
            await kernel.kvm_arch_vcpu_pre_fault_memory(t, setup.vcpu(thread.name), args[0] << 12, 4096)
        elif kind == "fallocate":
            await self.fallocate(t, thread, *args)
        elif kind == "release":
            await self.release_file(t, thread)
        elif kind == "host_fault":
            await kernel.host_fault(t, setup.mapping(thread.name), args[0])
        elif kind == "memory_failure":
            index = self.frames.index_of(args[0])
            assert index is not None  # see fails_elsewhere
            await kernel.memory_failure(t, setup.gmem.inode, index)
        elif kind == "set_region":
            if (ret := await setup.set_region(t, *args[:3])) != args[3]:
                raise Rejected(f"kvm_set_memory_region of the model's {thread.name} returns {ret} here")
        else:
            start, end, private = args
            await kernel.kvm_vm_set_mem_attributes(t, setup.vm, start, end, bool(private))

    # -- strategy: choices that the trace decides ----------------------------------------------

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return runnable[0] if current is None else current

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Answers that only the thread's future knows; everything else is the default."""
        future = self.by_task[task].future
        if label == "need_resched":
            return int(future.name_is_next("tlb_flush") and not future.flush_is_last())
        if label == "need_resched_idle":
            # A break that flushes nothing shows in no event; it happens if somebody else must have had the lock.
            return int(self.lock_wanted)
        if label == "spte.accessed":
            step = future.next_event()
            known = {5: 1, 1: 2}
            return known.get(step.observation.a, 0) if step is not None and step.name == "map_ret" else 0  # type: ignore[arg-type]
        return 0

    # -- the walk ------------------------------------------------------------------------------

    def run(self) -> FollowResult:
        """Follow the whole trace, or up to the first event that the model cannot take."""
        began = time.perf_counter()
        rejection = self.walk(0, len(self.trace.steps))
        return self.result(rejection, time.perf_counter() - began)

    def walk(self, first: int, last: int) -> Rejection | None:
        """Follow the trace's steps from `first` to before `last`; the first that the model cannot take, if any."""
        steps = self.trace.steps
        for place, step in enumerate(steps[first:last], first):
            thread = self.threads[step.thread]
            try:
                if step.number < thread.future.cursor:
                    self.pass_over(thread, step)
                else:
                    self._take(thread, step)
            except Rejected as error:
                event = f"{step.kernel_name}: {step.observation}"
                self.suspect = error.fault
                self.place = place
                before = (
                    self.trace.threads[step.thread][step.number - 1] if step.number else self.trace.steps[0]
                )
                return Rejection(step.position, step.line, event, str(error), step.thread, before.line)
        return None

    def close(self) -> None:
        """Let go of the tasks."""
        for thread in self.threads.values():
            thread.task.handle.close()

    def result(self, rejection: Rejection | None, seconds: float) -> FollowResult:
        """What following came to; the tasks are let go."""
        self.close()
        if self.outside:
            self.notes.append(f"{self.outside} events outside any modelled call were passed over")
        unobserved = tuple(sorted(set(PROBES.values()) - self.probed))
        return FollowResult(
            trace=self.trace.path,
            patch=self.patch,
            release=self.release.name,
            accepted=rejection is None,
            events=self.trace.events,
            matched=self.matched,
            steps=self.steps,
            rejected_at=rejection,
            left_out=self.trace.ignored,
            unobserved=unobserved,
            probes_from=self.trace.probes_from,
            notes=tuple(self.notes),
            seconds=seconds,
        )

    def _take(self, thread: Thread, step: Step) -> None:
        observation = step.observation
        if step.name in HINTS:
            self.take_hint(thread, step)
            return
        if self.fails_elsewhere(thread, step):
            thread.left_out = thread.calls.popleft()
        if not self.in_call(thread, step):
            self.pass_over(thread, step)
            thread.future.cursor = step.number + 1
            self.outside += 1
            return
        if observation.name == "folio_unlock":
            index = self.frames.index_of(observation.a)  # type: ignore[arg-type]
            if index is None:
                self.unlocks_another(thread)
                thread.future.cursor = step.number + 1
                return
            observation = Observation("folio_unlock", index)
        self.position = step.position
        thread.future.cursor = max(thread.future.cursor, step.number)
        if not thread.shown:
            self._advance(thread, step)
        shown = thread.shown.popleft()
        self.compare(thread, shown, observation)
        thread.future.cursor = step.number + 1
        self.matched += 1
        self.eager(thread)
        for other in self.waiting.pop(step.name, []) if step.name == FAULT_ENDS else ():
            self.eager(other)

    def _advance(self, thread: Thread, step: Step) -> None:
        """Run the thread's task until it shows something; other threads give way where it needs them to."""
        for _ in range(SILENT_LIMIT):
            self._run(thread, step)
            if thread.shown:
                return
        raise Rejected(f"the model's {thread.name} shows nothing in {SILENT_LIMIT} steps")

    def _run(self, thread: Thread, step: Step) -> None:
        task = thread.task
        if task.done:
            raise Rejected(f"the model's {thread.name} has nothing left to do here")
        if task.pending.kind == "call" and not thread.calls:
            raise Rejected(f"no call of {thread.name} that could show {step.observation}")
        if task.pending.kind == "call" and thread.calls[0].kind == "host_fault":
            mapping, index = self.setup.mapping(thread.name), thread.calls[0].args[0]
            if index in mapping.mapped:
                # What is mapped does not fault: the entry was dropped before.
                self.drop(mapping, index)
        ready, why = self.outcomes.ready(thread, task.pending)
        if not ready:
            if self.advance_others(thread):
                return
            if not self.outcomes.soft(thread, task.pending):
                raise Rejected(f"the model's {thread.name} {why}", self.outcomes.suspect(thread, why))
        self.step(thread)

    def step(self, thread: Thread) -> None:
        task = thread.task
        op = task.pending
        if op.obj == self.count.label:
            self.descriptor_goes(thread)
        self.outcomes.before(thread, op)
        self.steps += 1
        thread.taken += 1
        try:
            task.send(None)
        except StopIteration as stop:
            self.engine.finish(task, stop.value)
        if task.pending.kind == "wait" and not self.outcomes.may_begin(task.pending):
            raise Rejected(f"the model's {thread.name} sleeps on {task.pending.obj}")
        if op.mode == "w" or (op.kind == "release" and op.obj == self.setup.vm.srcu.label):
            for other in self.waiting.pop(op.obj, ()):
                if other is not thread:
                    self.eager(other)
        if op.mode == "w" and thread.call is not None and thread.call.kind == "set_region":
            # What follows a publication begins at once, whoever needed it: its grace period is no matter of events.
            self.eager(thread)

    def eager(self, thread: Thread) -> None:
        """Take the thread's reads that already have the outcome they need."""
        for _ in range(SILENT_LIMIT):
            task = thread.task
            if thread.shown or task.done:
                return
            op = task.pending
            verdict = self.outcomes.eager(thread, op)
            if verdict is None:
                for obj in self.outcomes.depends_on(op):
                    waiting = self.waiting.setdefault(obj, [])
                    if thread not in waiting:
                        waiting.append(thread)
                return
            if not verdict:
                return
            self.step(thread)
