"""A trace as the follower needs it: events of our threads as observations, plus what the metadata says.

Only one guest_memfd file is followed: the one whose inode the start marker names, else the first one truncated,
faulted or filled. Events of other files, folios and locks are left out, and counted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from ..audit.bounded import clean, json_value, read_bounded
from .files import Others, geometry, others, scan
from .ftrace import TraceError, read_trace
from .nesting import first_flaw
from .observe import Observer, from_mmio_entries
from .probes import HINTS, PROBES, Observation
from .release_events import Releases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ftrace import KernelEvent
    from .result import Rejection

_MARK = re.compile(
    r"GMEM start name=(\S{1,200}) vcpus=(\d{1,9}) pages=(\d{1,18}) ino=(\d{1,20}) data_gfn=(0x[0-9a-f]{1,16})"
)
#: What is written into trace_marker: in tracefs' own text, and in that of `trace-cmd report`.
_MARKERS: Final = ("tracing_mark_write", "print")
#: Pages of the followed file: each is an object of the model.
_MOST_PAGES: Final = 1 << 20
#: Bytes of the metadata beside a trace.
_METADATA: Final = 4 << 20


class Step:
    """One event that is to be matched (or, for a hint, used): where, by whom, and what it shows."""

    __slots__ = ("kernel_name", "line", "name", "number", "observation", "position", "thread")

    def __init__(
        self, position: int, number: int, line: int, thread: str, kernel_name: str, obs: Observation
    ) -> None:
        self.position = position
        self.number = number
        self.line = line
        self.thread = thread
        self.kernel_name = kernel_name
        self.observation = obs
        self.name = obs.name


@attrs.define
class Trace:
    """A parsed trace.

    Attributes:
        steps: the events to match or to take as hints, in order; `number` counts within the thread.
        threads: steps of each thread, by its name.
        events: events in the file, including those left out.
        ignored: left-out events by name and reason.
        probed: observation names that the recording could show.
        absent: arch hooks that the recorded kernel does not have: not to be probed although others were.
        probes_from: `metadata` or `trace` (inferred).
        sw_protected, pages, data_gfn, release: the VM and the kernel.
        flaw: the first event that no kernel can have shown where it is, whatever its version (`nesting`).
        begins: the recording began before the memory was touched, as a marker in it says.
        alone: no other guest_memfd file is in use in it.
        back: line of the first event whose time is before that of the line above; 0: none.
        releases: where the file is released (positions).
        converted: (first gfn, end, private) of conversions that were over before, in order.
        conversions: arguments of conversions whose call was not probed, by thread (or its name without the pid, where
            another recording of the same workload shows them).
    """

    path: str
    steps: list[Step]
    threads: dict[str, list[Step]]
    events: int
    ignored: dict[str, int]
    probed: frozenset[str]
    absent: frozenset[str]
    probes_from: str
    sw_protected: bool
    pages: int
    data_gfn: int
    release: str | None
    scenario: str = ""
    gmem_prepare: bool = False
    flaw: Rejection | None = None
    begins: bool = False
    alone: bool = True
    back: int = 0
    releases: Releases = attrs.field(factory=Releases)
    converted: tuple[tuple[int, ...], ...] = ()
    metadata: dict[str, object] = attrs.field(factory=dict)
    conversions: dict[str, list[tuple[int, int, int]]] = attrs.field(factory=dict)

    def conversions_of(self, thread: str) -> list[tuple[int, int, int]]:
        """What `conversions` says of a thread."""
        return self.conversions.get(thread) or self.conversions.get(thread.rpartition("-")[0], [])

    def faulted(self) -> set[int]:
        """Guest frames that a vCPU faulted on."""
        return {
            s.observation.a for s in self.steps if s.name == "page_fault" and isinstance(s.observation.a, int)
        }

    def is_bound(self) -> bool:
        """Whether the file has its slot from the beginning, which it has not if the first change of it makes it."""
        first = next((step for step in self.steps if step.name == "set_region"), None)
        if first is None or first.observation.b == 0:
            return True
        rest = self.threads[first.thread][first.number :]
        returned = next((step.observation.a for step in rest if step.name == "set_region_ret"), 0)
        return returned != 0

    def with_steps(self, steps: Iterable[Step]) -> Trace:
        """The same with these of its steps only, numbered anew."""
        kept: list[Step] = []
        threads: dict[str, list[Step]] = {}
        for step in steps:
            mine = threads.setdefault(step.thread, [])
            new = Step(step.position, len(mine), step.line, step.thread, step.kernel_name, step.observation)
            mine.append(new)
            kept.append(new)
        return attrs.evolve(self, steps=kept, threads=threads)

    def take_conversions(self, other: Trace) -> None:
        """Use the conversions of `other`, a recording of the same program with the same seed.

        Raises:
            TraceError: it has none of a thread with such a name, or a name does not say which thread it is.
        """
        mine = self._converting("set_attributes_pre")
        theirs = other._converting("set_attributes")
        shared = mine.keys() & theirs.keys()
        for trace, names in ((self, mine), (other, theirs)):
            twice = next((name for name in sorted(shared) if len(names[name]) > 1), None)
            if twice is not None:
                name = clean(twice, 60)
                raise TraceError(
                    f"{trace.path}: two threads called {name} convert: by the name nobody knows which is which"
                )
        if not shared:
            raise TraceError(f"{other.path}: no conversions of a thread that is called as one of {self.path}")
        for name, (thread, *_) in theirs.items():
            found = [s.observation[1:] for s in other.threads[thread] if s.name == "set_attributes"]
            self.conversions[name] = found  # type: ignore[assignment] # three numbers each

    def _converting(self, shows: str) -> dict[str, list[str]]:
        """Threads that convert, as an event of theirs shows, by name."""
        found: dict[str, list[str]] = {}
        for thread, steps in self.threads.items():
            if any(step.name == shows for step in steps):
                found.setdefault(thread.rpartition("-")[0], []).append(thread)
        return found


def order_note(trace: Trace) -> tuple[str, ...]:
    """What is to be said where the times of a trace go back."""
    if not trace.back:
        return ()
    return (f"times go back at line {trace.back}: events are taken in the order of the text",)


def trace_from_events(
    events: Iterable[KernelEvent], path: str, metadata: dict[str, object] | None = None
) -> Trace:
    """Turn kernel events into steps.

    Raises:
        TraceError: no event concerns a guest_memfd, or the metadata says that events were lost.
    """
    listed = _with_one_name(list(events))
    meta = metadata or {}
    lost = meta.get("lost_events") or 0
    if not isinstance(lost, int):
        raise TraceError(
            f"{path}: lost_events of the metadata: expected a number, found {clean(repr(lost), 60)}"
        )
    if lost > 0:
        raise TraceError(f"{path}: {lost:,} events were lost, says the metadata: record with a larger buffer")
    mark = _start_line(listed, path)
    reader, elsewhere, alone = _reader(listed, mark, path)
    releases = Releases(listed, reader.mapping, reader.ino)
    steps: list[Step] = []
    threads: dict[str, list[Step]] = {}
    ignored: dict[str, int] = {}
    emulated = from_mmio_entries(listed)
    probed, probes_from = _probed(meta, listed)
    names = {event.name for event in listed}
    flaw = first_flaw(listed, names | _recorded(meta))
    total = len(listed)
    kept: dict[Observation, Observation] = {}
    # An event is let go when it has become a step: the two are never there for all at once.
    listed.reverse()
    earlier = back = 0
    for position in range(total):
        event = listed.pop()
        if event.time_us < earlier and not back:
            back = event.line
        earlier = event.time_us
        reader.releasing = position in releases.ours
        try:
            if position in emulated:
                found: Observation | str = "from an MMIO entry"
            elif position in releases.others or (event.thread, position) in elsewhere:
                found = "other file"
            else:
                found = reader.observe(event)
        except ValueError as error:
            raise TraceError(f"{path}:{event.line}: {error}, got {clean(event.args, 60)!r}") from None
        if isinstance(found, str):
            key = event.name if found == "not a step" else f"{event.name} ({found})"
            ignored[key] = ignored.get(key, 0) + 1
            continue
        mine = threads.setdefault(event.thread, [])
        # Many events show the same: what they show is kept once.
        shows = kept.setdefault(found, found)
        step = Step(position, len(mine), event.line, event.thread, event.name, shows)
        mine.append(step)
        steps.append(step)
    if not steps:
        raise TraceError(f"{path}: no event of a guest_memfd in it")
    stray = next((step for step in steps if step.name not in probed and step.name not in HINTS), None)
    if stray is not None:
        raise TraceError(
            f"{path}:{stray.line}: {stray.kernel_name} shows, and the metadata list no probe of it: another recording's"
        )
    return Trace(
        path=path,
        steps=steps,
        threads=threads,
        events=total,
        ignored=dict(sorted(ignored.items())),
        probed=probed,
        absent=_absent(meta, probed),
        probes_from=probes_from,
        sw_protected=bool(meta.get("vm_type") == "KVM_X86_SW_PROTECTED_VM" or "arch_pre_set_attrs" in names),
        pages=reader.pages,
        data_gfn=reader.data_gfn,
        release=_release(meta),
        scenario=mark[1] if mark else str(meta.get("scenario", "")),
        flaw=flaw,
        begins=mark is not None,
        alone=alone and not releases.others,
        back=back,
        releases=releases,
        gmem_prepare=bool(probed & _ARCH_HOOKS),
        metadata=meta,
    )


def _with_one_name(events: list[KernelEvent]) -> list[KernelEvent]:
    """The events with one name for each thread: the last that its pid has, `<...>` only if it has no other.

    A thread is renamed where it begins or by who made it, perf shows each name while it lasts, and the kernel forgets
    names (`saved_cmdlines_size`). Under two names it would be two threads, and a call under way a part of none.
    """
    names: dict[str, str] = {}
    seen = list(dict.fromkeys(event.thread for event in reversed(events)))
    for thread in seen:
        name, _, pid = thread.rpartition("-")
        if pid not in names or (names[pid].startswith("<...>-") and name != "<...>"):
            names[pid] = thread
    # Each CPU's idle task has pid 0.
    renamed = {thread: names[pid] for thread in seen if (pid := thread.rpartition("-")[2]) != "0"}
    if all(thread == name for thread, name in renamed.items()):
        return events
    return [event._replace(thread=renamed.get(event.thread, event.thread)) for event in events]


def _release(meta: dict[str, object]) -> str | None:
    match = re.search(r"Linux \S+ (\d+\.\d+)", str(meta.get("uname", "")))
    return match[1] if match else None


def _reader(
    listed: list[KernelEvent], mark: re.Match[str] | None, path: str
) -> tuple[Observer, Others, bool]:
    """Who reads the events of the followed file, the calls of other ones, and whether there are none.

    Raises:
        TraceError: the file of the start line does not show, or its size is none.
    """
    files = scan(listed)
    try:
        mapping = files.mapping_of(int(mark[4]) if mark else None)
    except LookupError:
        shown = ", ".join(map(str, sorted(filter(None, files.inodes.values()))))
        raise TraceError(
            f"{path}: the start line names inode {mark and mark[4]}, and the events are of inode {shown}"
        ) from None
    ino = int(mark[4]) if mark else None if mapping is None else files.inodes[mapping]
    alone = len(files.inodes) < 2
    data_gfn, pages = (int(mark[5], 16), int(mark[3])) if mark else geometry(listed, mapping, alone)
    if not 0 < pages <= _MOST_PAGES:
        raise TraceError(f"{path}: a file of {pages:,} pages; expected 1 to {_MOST_PAGES:,}")
    reader = Observer(ino, data_gfn, pages)
    reader.mapping, reader.vmemmap = mapping, files.vmemmap
    elsewhere = Others() if alone else others(listed, mapping, range(data_gfn, data_gfn + pages))
    return reader, elsewhere, alone


def _start_line(events: list[KernelEvent], path: str) -> re.Match[str] | None:
    """The start line, if there is one.

    Raises:
        TraceError: there are two.
    """
    found = (
        (event.line, m) for event in events if event.name in _MARKERS and (m := _MARK.search(event.args))
    )
    first = next(found, None)
    second = next(found, None)
    if first is not None and second is not None:
        raise TraceError(
            f"{path}:{second[0]}: a second start line, the first is line {first[0]}: expected one recording a file"
        )
    return None if first is None else first[1]


_PROBE = re.compile(r"^(?:OFF|PROBE|RET|TP) (\S+).* ok$")


def _recorded(meta: dict[str, object]) -> set[str]:
    """Events that could show, as the metadata lists them; none if it does not."""
    listed = meta.get("probes")
    lines = map(str, listed) if isinstance(listed, list) else ()
    return {match[1].rpartition("/")[2].rstrip() for line in lines if (match := _PROBE.match(line))}


def _probed(meta: dict[str, object], events: list[KernelEvent]) -> tuple[frozenset[str], str]:
    """Observation names the recording could show, from the metadata's probe list or from what is in the trace."""
    names = _recorded(meta)
    source = "metadata"
    if not isinstance(meta.get("probes"), list):
        names, source = {event.name for event in events}, "trace"
    kinds = set()
    for name in names:
        instruction = name.startswith(("zero_begin", "uptodate_set"))
        kind = PROBES.get(name[: name.rindex("_")] if instruction else name)
        if kind:
            kinds.add(kind)
    return frozenset(kinds), source


#: The kernel's hook behind each observation. They are called across modules, so a missing symbol is no inlined one.
_HOOKS: Final = {
    "prepare": "kvm_arch_gmem_prepare",
    "make_private": "kvm_arch_gmem_make_private",
    "arch_invalidate": "kvm_arch_gmem_invalidate",
    "arch_reclaim": "kvm_arch_gmem_reclaim",
}
#: A kernel that has one of these was built with all hooks of its release.
_ARCH_HOOKS: Final = frozenset({*_HOOKS, "arch_invalidate_range"})


def _absent(meta: dict[str, object], probed: frozenset[str]) -> frozenset[str]:
    """Hooks whose symbol the recorder looked for in vain in a kernel that has others of them."""
    unavailable = meta.get("probes_unavailable")
    if not isinstance(unavailable, list) or not probed & set(_HOOKS):
        return frozenset()
    missing = [
        f"{line} " for line in map(str, unavailable) if line.startswith("PROBE ") and "missing" in line
    ]
    return frozenset(
        name
        for name, symbol in _HOOKS.items()
        if name not in probed and any(f"PROBE {symbol} " in line for line in missing)
    )


def load_trace(path: Path, metadata: Path | None = None) -> Trace:
    """Read a trace and the metadata beside it (`NAME.json` for `NAME.trace.gz`), if there is any.

    Raises:
        TraceError: unreadable trace or metadata.
    """
    beside = path.with_name(path.name.split(".trace")[0] + ".json")
    source = metadata or (beside if beside.exists() and beside != path else None)
    meta: dict[str, object] = {}
    if source is not None:
        try:
            loaded = json_value(read_bounded(source, _METADATA))
        except OSError as error:
            raise TraceError(f"{source}: {error.strerror}") from None
        except ValueError as error:
            raise TraceError(f"{source}: not JSON: {clean(str(error), 100)}") from None
        if not isinstance(loaded, dict):
            raise TraceError(f"{source}: expected a JSON object")
        meta = loaded
    if not path.is_file():
        raise TraceError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    return trace_from_events(read_trace(path), str(path), meta)
