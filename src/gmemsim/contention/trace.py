"""One point as Chrome trace events, for Perfetto (ui.perfetto.dev): a thread a task, a slice a wait or hold of a lock.

Time is the model's virtual time. A wait is from the event `contended` to `lock`: a writer that only spins shows none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..audit.events import Contended, Lock, Unlock
from ..audit.kvm_events import Retry
from .lock_book import class_of

if TYPE_CHECKING:
    from ..engine.task import Task
    from .point import Point

#: Slices that a trace has at most: viewers grow slow with more.
_MOST: Final = 400_000


class TraceBook:
    """Fed with the events of a run.

    Attributes:
        dropped: slices and instants beyond the limit.
    """

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}
        self._waits: dict[tuple[int, str], int] = {}
        self._holds: dict[tuple[int, str, str], int] = {}
        self.dropped = 0

    def event(self, t: Task, event: Any) -> None:
        """Take note."""
        kind, now = event.__class__, t.engine.now
        if kind is Contended:
            self._waits[t.ident, event.lock] = now
        elif kind is Lock:
            since = self._waits.pop((t.ident, event.lock), None)
            if since is not None:
                self._slice(t, f"wait {class_of(event.lock)}:{event.mode}", "wait", since, event.lock)
            self._holds[t.ident, event.lock, event.mode] = now
        elif kind is Unlock:
            since = self._holds.pop((t.ident, event.lock, event.mode), None)
            if since is not None:
                self._slice(t, f"{class_of(event.lock)}:{event.mode}", "hold", since, event.lock)
        elif kind is Retry:
            self._add(
                t, {"ph": "i", "s": "t", "name": f"retry {event.reason}", "cat": "retry", "ts": now / 1000}
            )

    def _slice(self, t: Task, name: str, category: str, since: int, lock: str) -> None:
        ends = t.engine.now
        record = {"ph": "X", "name": name, "cat": category, "ts": since / 1000, "dur": (ends - since) / 1000}
        self._add(t, {**record, "args": {"lock": lock}})

    def _add(self, t: Task, record: dict[str, Any]) -> None:
        if len(self._records) >= _MOST:
            self.dropped += 1
            return
        self._names.setdefault(t.ident, t.name)
        self._records.append({**record, "pid": 1, "tid": t.ident + 1})

    def document(self, point: Point) -> dict[str, Any]:
        """For a JSON file: `traceEvents` in order of time."""
        names = [
            {"ph": "M", "pid": 1, "tid": ident + 1, "name": "thread_name", "args": {"name": name}}
            for ident, name in sorted(self._names.items())
        ]
        # Longer slices first at equal times: the viewers nest in the order of the file.
        ordered = sorted(self._records, key=lambda record: (record["ts"], -record.get("dur", 0)))
        title = f"{point.label}: {', '.join(point.setting)}, {point.vcpus} vCPUs"
        head = {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": title}}
        return {
            "traceEvents": [head, *names, *ordered],
            "displayTimeUnit": "ns",
            "otherData": {"time": "virtual, under the model's cost table", "dropped": self.dropped},
        }
