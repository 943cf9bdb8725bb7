"""Steps that no probe shows, taken by other threads so that one thread's next step comes out as it must."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from .thread import next_position

if TYPE_CHECKING:
    from ..actors.inode import HostMapping
    from ..engine.op import Op
    from .outcomes import Outcomes
    from .thread import Thread
    from .world import Setup

#: Rounds of helping before a step is given up.
HELP_ROUNDS = 256


class OtherThreads:
    """What `Attempt` does with everybody but the thread whose event is due."""

    setup: Setup
    outcomes: Outcomes
    threads: dict[str, Thread]
    begin_conversions: bool
    lock_wanted: bool
    probed: frozenset[str]
    position: int

    @abstractmethod
    def step(self, thread: Thread) -> None:
        """Take one step of the thread's task."""

    @abstractmethod
    def drop(self, mapping: HostMapping, index: int) -> None:
        """Let the VMM drop its page-table entry of `index`.

        It can at any time, and no probe shows it. An entry that nobody needs gone is left alone, for a later event
        may need it there.
        """

    def advance_others(self, thread: Thread) -> bool:
        """Take silent steps of other threads until `thread`'s next step has the outcome it needs."""
        op = thread.task.pending
        self.lock_wanted = op.kind == "acquire" and op.obj == self.setup.vm.mmu_lock.label
        try:
            return self._advance_others_for(thread, op)
        finally:
            self.lock_wanted = False

    def _advance_others_for(self, thread: Thread, op: Op) -> bool:
        if op.obj.endswith(".mapcount") and not thread.future.name_is_next("down_read"):
            mappings = [mapping for mapping in self.setup.mappings.values() if op.lo in mapping.mapped]
            for mapping in mappings:
                self.drop(mapping, op.lo)
            return bool(mappings)
        for _ in range(HELP_ROUNDS):
            moved = False
            for other in self._helpers(thread):
                while self._may_move(other):
                    pending = other.task.pending
                    if (
                        pending.kind == "acquire"
                        and pending.obj != op.obj
                        and not op.obj.endswith(".mapcount")
                        and not self._publishes(other, op)
                    ):
                        # Taking another lock for somebody's sake would keep it from those who had it first.
                        break
                    self.step(other)
                    moved = True
                    # The step may have let `thread` itself go on (see `eager`); then the question is another one.
                    if thread.task.pending is not op or self.outcomes.ready(thread, op)[0]:
                        return True
                    if op.kind != "acquire" and other.task.pending.obj != op.obj:
                        break
            if not moved:
                return self._begin_conversion(thread, op) or self._begin_release(thread, op)
        return False

    def _begin_release(self, thread: Thread, op: Op) -> bool:
        """Let the last reference of the file go: from then on, and before its release shows, nobody gets it."""
        if op.obj != self.setup.gmem.count.label or not thread.future.plan().file_gone:
            return False
        for other in self.threads.values():
            if other.call is None and other.releases_next and not other.shown and not other.task.done:
                self.step(other)
            while (
                other.call is not None
                and other.call.kind == "release"
                and other.task.pending.obj == op.obj
                and self._may_move(other)
            ):
                self.step(other)
                if thread.task.pending is not op or self.outcomes.ready(thread, op)[0]:
                    return True
        return False

    def _begin_conversion(self, thread: Thread, op: Op) -> bool:
        """Let a conversion begin whose start no probe shows, if a retry must have met it."""
        if op.obj != self.setup.vm.load_seq.obj or not self.begin_conversions:
            return False
        for other in self.threads.values():
            if (
                other.call is None
                and self._converts_unseen(other)
                and not other.shown
                and not other.task.done
            ):
                self.step(other)
            while other.call is not None and other.call.kind == "set_attributes" and self._may_move(other):
                self.step(other)
                if thread.task.pending is not op or self.outcomes.ready(thread, op)[0]:
                    return True
        return False

    def _converts_unseen(self, other: Thread) -> bool:
        """Whether the thread's next call is a conversion whose entry no probe shows."""
        seen = "set_attributes" in self.probed
        return not seen and bool(other.calls) and other.calls[0].kind == "set_attributes"

    def _helpers(self, thread: Thread) -> list[Thread]:
        """Threads whose silent steps may help: the holders of a lock, or else whoever is about to change the object."""
        op = thread.task.pending
        if op.kind == "acquire":
            holders = self.outcomes.holders(thread, op)
            return [other for other in self.threads.values() if other.task in holders and not other.shown]
        near, far = [], []
        for other in self.threads.values():
            if other is thread or other.shown or other.task.done:
                continue
            pending = other.task.pending
            if pending.obj == op.obj:
                if pending.lo < op.hi and op.lo < pending.hi:
                    near.append(other)
            elif other.call is not None and (pending.kind != "acquire" or self._publishes(other, op)):
                far.append(other)
        near.sort(key=next_position)
        if op.obj.endswith(".mapcount"):
            return [other for other in self.threads.values() if self._maps(other, op.lo)]
        return near + far

    def _publishes(self, other: Thread, op: Op) -> bool:
        """Whether `op` looks a slot up and the thread makes or deletes it: it takes locks before it publishes."""
        return op is self.setup.vm.load_slots and other.call is not None and other.call.kind == "set_region"

    @staticmethod
    def _maps(other: Thread, index: int) -> bool:
        """Whether the thread is in a host fault on `index` and about to map it."""
        call = other.call
        return call is not None and not other.shown and call.kind == "host_fault" and call.args[0] == index

    def _may_move(self, other: Thread) -> bool:
        if other.shown or other.task.done:
            return False
        op = other.task.pending
        if op.kind == "call":
            return False
        return self.outcomes.ready(other, op)[0]
