"""Waits for locks on a kernel, from the tracepoints that `perf lock contention` reads, counted as it counts them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

#: For the runner: every beginning of a wait with the stack that it comes from, and every end.
LOCK_EVENTS: Final = "e lock/contention_begin stacktrace\ne lock/contention_end -\n"

_EVENT: Final = re.compile(
    r"^\s*(?P<task>.+?)-\d+\s+(?:\(.*?\)\s+)?\[\d+\]\s+\S+\s+(?P<time>\d+\.\d+): (?P<name>contention_\w+): "
    r"(?P<lock>\S+)(?: \(flags=(?P<flags>[^)]*)\))?"
)
_FRAME: Final = re.compile(r"^ => (\w+)")
#: Functions of the locks themselves, between a caller and the tracepoint.
_OF_LOCKS: Final = re.compile(
    r"^(trace_|__traceiter|__bpf_trace|native_queued|queued_|pv_queued|__pv_queued|_raw_|__raw_|rwsem_|__rwsem|down_|__down|"
    r"mutex_|__mutex|ww_mutex|up_|rt_|percpu_|do_raw)"
)
_TYPES: Final = {
    frozenset({"SPIN"}): "spinlock",
    frozenset({"SPIN", "READ"}): "rwlock:R",
    frozenset({"SPIN", "WRITE"}): "rwlock:W",
    frozenset({"READ"}): "rwsem:R",
    frozenset({"WRITE"}): "rwsem:W",
    frozenset({"MUTEX"}): "mutex",
    frozenset({"MUTEX", "SPIN"}): "mutex",
    frozenset({"RT"}): "rt-mutex",
    frozenset({"PERCPU", "READ"}): "pcpu-sem:R",
    frozenset({"PERCPU", "WRITE"}): "pcpu-sem:W",
}


@attrs.frozen(order=True)
class Waits:
    """Waits of one type at one place; seconds."""

    total: float
    longest: float
    count: int
    kind: str
    caller: str


@attrs.define
class _Wait:
    """One that has begun."""

    time: float
    kind: str
    caller: str = ""


def waits_of(texts: Iterable[str]) -> list[Waits]:
    """All waits in ftrace text, the longest in sum first. A wait whose end is not in the text does not count."""
    found: dict[tuple[str, str], list[float]] = {}
    for text in texts:
        open_waits: dict[str, dict[str, _Wait]] = {}
        last: _Wait | None = None
        for line in text.splitlines():
            frame = _FRAME.match(line)
            if frame is not None:
                if last is not None and not last.caller and not _OF_LOCKS.match(frame[1]):
                    last.caller = frame[1]
                continue
            event = _EVENT.match(line)
            if event is None:
                continue
            mine = open_waits.setdefault(event["task"], {})
            if event["name"] == "contention_begin":
                flags = frozenset(re.split(r"[|\s]+", event["flags"] or "")) - {""}
                last = _Wait(float(event["time"]), _TYPES.get(flags, "|".join(sorted(flags))))
                # A mutex that spins first begins twice: perf counts from the first.
                mine.setdefault(event["lock"], last)
            else:
                last = None
                wait = mine.pop(event["lock"], None)
                if wait is not None:
                    key = (wait.kind, wait.caller or "?")
                    found.setdefault(key, []).append(float(event["time"]) - wait.time)
    rows = [Waits(sum(times), max(times), len(times), *key) for key, times in found.items()]
    return sorted(rows, reverse=True)
