"""Cut a thread's steps into the calls that the model has to make: faults, punches, conversions, …"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .probes import HINTS

if TYPE_CHECKING:
    from .trace import Step, Trace


@attrs.define
class Call:
    """One operation of a thread.

    Attributes:
        kind: fault, prefault, fallocate, host_fault, set_attributes, memory_failure, set_region, release.
        args: gfn, or (punch, start, end), or index, or (start, end, private), or the trace's pfn, or (first gfn, pages,
            first index, errno), or nothing: see `calls_of`.
        first, last: numbers of its first and last step within the thread.
    """

    kind: str
    args: tuple[int, ...]
    first: int
    last: int


def calls_of(trace: Trace, thread: str) -> tuple[list[Call], int]:
    """The calls of a thread, and how many of its steps lie before the first one (the trace began inside a call)."""
    steps = trace.threads[thread]
    calls: list[Call] = []
    skipped = 0
    position = 0
    state = _State(trace, thread)
    while position < len(steps):
        call = state.call_at(steps, position)
        if call is None:
            if not calls:
                skipped += 1
            position += 1
            continue
        calls.extend(call)
        position = max(calls[-1].last + 1, position + 1)
    return calls, skipped


class _State:
    """What the next call of a thread depends on."""

    def __init__(self, trace: Trace, thread: str) -> None:
        self.trace = trace
        self.thread = thread
        self.converted = 0
        self.prefault_gfn = trace.data_gfn

    def call_at(self, steps: list[Step], position: int) -> list[Call] | None:
        """The call that begins at `position`, or None if none does."""
        step = steps[position]
        name = step.name
        obs = step.observation
        if self._is_released(steps, position):
            return [self._release(steps, position)]
        if name == "page_fault":
            return [Call("fault", (_number(obs.a),), position, _until(steps, position, "tdp_fault_ret"))]
        if name == "pre_fault":
            return [self._prefault(steps, position)]
        if name == "fallocate":
            last = _until(steps, position, "fallocate_ret")
            return [Call("fallocate", (_number(obs.a), _number(obs.b), _number(obs.c)), position, last)]
        if name == "user_fault":
            return [self._host_fault(steps, position)]
        if name == "memory_failure":
            last = _until(steps, position, "memory_failure_ret")
            return [Call("memory_failure", (_number(obs.a),), position, last)]
        if name == "set_region":
            last = _until(steps, position, "set_region_ret")
            ended = steps[last].observation.a if steps[last].name == "set_region_ret" else 0
            numbers = (obs.a, obs.b, obs.c, ended)
            return [Call("set_region", tuple(_number(one) for one in numbers), position, last)]
        if name == "set_attributes":
            return [self._set_attributes(steps, position)]
        if name == "set_attributes_pre":
            return self._unprobed_conversion(steps, position)
        return None

    def _is_released(self, steps: list[Step], position: int) -> bool:
        """Whether a release begins there: with its first event, or with the lock that it takes before."""
        ours = self.trace.releases.ours
        if steps[position].name == "down_write" and position + 1 < len(steps):
            position += 1
        return steps[position].position in ours

    def _release(self, steps: list[Step], position: int) -> Call:
        ours = self.trace.releases.ours
        last = position
        for number in range(position + 1, len(steps)):
            step = steps[number]
            if step.position not in ours and step.name not in HINTS:
                break
            last = number
            if step.name == "truncate_ret":
                break
        return Call("release", (), position, last)

    def _unprobed_conversion(self, steps: list[Step], position: int) -> list[Call] | None:
        """A conversion of which only the inner steps show: its arguments come from elsewhere, in order."""
        known = self.trace.conversions_of(self.thread)
        if self.converted == len(known):
            return None
        args = known[self.converted]
        self.converted += 1
        return [Call("set_attributes", args, position, _until(steps, position, "set_attributes_post"))]

    def _prefault(self, steps: list[Step], position: int) -> Call:
        last = position
        gfn: int | None = None
        for number in range(position + 1, len(steps)):
            step = steps[number]
            if step.name == "pre_fault":
                break
            last = number
            if step.name == "get_pfn":
                gfn = _number(step.observation.a)
            if step.name == "tdp_fault_ret" and step.observation.a != 1:
                break
        if gfn is None:
            gfn = self.prefault_gfn
        self.prefault_gfn = gfn + 1
        return Call("prefault", (gfn,), position, last)

    def _host_fault(self, steps: list[Step], position: int) -> Call:
        index = _number(steps[position].observation.a)
        last = _until(steps, position, "user_fault_ret")
        if steps[last].observation.a == "locked" and "folio_unlock" in self.trace.probed:
            # The core unlocks the folio once it is mapped.
            unlock = _until(steps, last, "folio_unlock")
            between = {step.name for step in steps[last + 1 : unlock]}
            if steps[unlock].name == "folio_unlock" and not between & {
                "user_fault",
                "down_write",
                "up_write",
            }:
                last = unlock
        return Call("host_fault", (index,), position, last)

    @staticmethod
    def _set_attributes(steps: list[Step], position: int) -> Call:
        obs = steps[position].observation
        last = position
        inside = False
        for number in range(position + 1, len(steps)):
            name = steps[number].name
            if name in ("set_attributes", "fallocate", "page_fault", "user_fault"):
                break
            if name == "set_attributes_pre":
                inside = True
            elif name == "set_attributes_post":
                inside = False
            if inside or name == "set_attributes_post":
                # (The trace may end inside.)
                last = number
        return Call("set_attributes", (_number(obs.a), _number(obs.b), _number(obs.c)), position, last)


def _until(steps: list[Step], position: int, name: str) -> int:
    """Number of the next step called `name`; the last step of the thread if the trace ends inside the call."""
    for number in range(position + 1, len(steps)):
        if steps[number].name == name:
            return number
    return len(steps) - 1


def _number(value: int | str | None) -> int:
    assert isinstance(value, int)
    return value
