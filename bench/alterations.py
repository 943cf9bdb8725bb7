"""Alterations of a log with a known answer: `SAME` change nothing, `DIFFER` do (see `altered_pairs`)."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from event_relation import VM_WIDE, dependent, independent, names_of
from msgspec import structs

from gmemsim.audit import events as engine_events
from gmemsim.audit import kvm_events as kvm
from gmemsim.audit.base import Event

__all__ = ["DIFFER", "SAME", "Alter", "Log"]

Log = list[tuple[str, Event]]
#: A frame in the text of a message.
PFN = re.compile(r"\bpfn=(0x[0-9a-f]+|\d+)")

Alter = Callable[[Log, random.Random], "Log | None"]

# -- equal -----------------------------------------------------------------------------------------


def renamed(log: Log, names: Callable[[int], int]) -> Log:
    """Every frame under another name, in the texts of messages as well."""
    found: Log = []
    for actor, event in log:
        if isinstance(event, engine_events.Send):
            text = PFN.sub(lambda match: f"pfn={names(int(match[1], 0)):#x}", event.detail)
            event = structs.replace(event, detail=text)  # noqa: PLW2901 # what follows is of this one
        if isinstance(event, kvm.ArchInvalidate):
            start = names(event.start)
            found.append((actor, structs.replace(event, start=start, end=start + event.end - event.start)))
        elif getattr(event, "pfn", -1) >= 0:
            found.append((actor, structs.replace(event, pfn=names(event.pfn))))  # type: ignore[attr-defined]
        else:
            found.append((actor, event))
    return found


def frames_of(log: Log) -> list[int]:
    frames = {event.pfn for _, event in log if getattr(event, "pfn", -1) >= 0}  # type: ignore[attr-defined]
    for _, event in log:
        if isinstance(event, engine_events.Send):
            frames |= {int(number, 0) for number in PFN.findall(event.detail)}
        if isinstance(event, kvm.ArchInvalidate):
            frames |= set(range(event.start, event.end))
    return sorted(frames)


def rename_frames(log: Log, rng: random.Random) -> Log | None:
    """A bijection: the frames shuffled where all are single, else all shifted by a multiple of 1 GiB."""
    frames = frames_of(log)
    if not frames:
        return None
    wide = any(
        getattr(event, "order", 0) or getattr(event, "level", 1) > 1 or getattr(event, "pages", 1) > 1
        or (isinstance(event, kvm.ArchInvalidate) and event.end - event.start > 1)
        or type(event).__name__ in ("HugeRefCheck", "PageCacheDeleteRange")
        for _, event in log
    )  # fmt: skip
    if wide:
        shift = rng.randrange(1, 9) << 18
        return renamed(log, lambda frame: frame + shift)
    shuffled = frames[:]
    rng.shuffle(shuffled)
    table = dict(zip(frames, shuffled, strict=True))
    return renamed(log, table.__getitem__)


def renumber_messages(log: Log, rng: random.Random) -> Log | None:
    ids = sorted(
        {event.id for _, event in log if isinstance(event, engine_events.Send | engine_events.Receive)}
    )
    if not ids:
        return None
    numbers = dict(zip(ids, rng.sample(range(10 * len(ids)), len(ids)), strict=True))
    return [
        (actor, structs.replace(event, id=numbers[event.id]))
        if isinstance(event, engine_events.Send | engine_events.Receive) else (actor, event)
        for actor, event in log
    ]  # fmt: skip


def reorder(log: Log, rng: random.Random) -> Log | None:
    """Many swaps of independent neighbours."""
    found = log[:]
    swaps = 0
    for _ in range(6):
        for at in range(len(found) - 1):
            if rng.random() < 0.6 and independent(found[at], found[at + 1]):
                found[at], found[at + 1] = found[at + 1], found[at]
                swaps += 1
    return found if swaps else None


def everything_equal(log: Log, rng: random.Random) -> Log | None:
    found = reorder(log, rng)
    for change in (rename_frames, renumber_messages):
        found = None if found is None else change(found, rng)
    return found


# -- different -------------------------------------------------------------------------------------


def places(log: Log, wanted: Callable[[int], bool], rng: random.Random) -> int | None:
    found = [at for at in range(len(log)) if wanted(at)]
    return rng.choice(found) if found else None


def swap(log: Log, at: int) -> Log:
    return [*log[:at], log[at + 1], log[at], *log[at + 2 :]]


def swap_dependent(log: Log, rng: random.Random) -> Log | None:
    at = places(log, lambda at: at + 1 < len(log) and dependent(log[at], log[at + 1]), rng)
    return None if at is None else swap(log, at)


def swap_in_task(log: Log, rng: random.Random) -> Log | None:
    at = places(
        log, lambda at: at + 1 < len(log) and log[at][0] == log[at + 1][0] and log[at] != log[at + 1], rng
    )
    if at is None:
        return None
    found = swap(log, at)
    # A send and a receive may be told apart by their number only.
    return found if _shape(log[at][1]) != _shape(log[at + 1][1]) else None


def _shape(event: Event) -> tuple[Any, ...]:
    left_out = ("id", "pfn", "detail")
    return type(event), *(getattr(event, name) for name in event.__struct_fields__ if name not in left_out)


def carry(first: tuple[type[Event], ...], second: tuple[type[Event], ...], reach: int = 400) -> Alter:
    """Move an event of `first` behind the next event of `second` by another task that shares a name or a VM with it."""

    def alter(log: Log, rng: random.Random) -> Log | None:
        pairs = []
        for at, (actor, event) in enumerate(log):
            if not isinstance(event, first):
                continue
            for to in range(at + 1, min(at + reach, len(log))):
                task, other = log[to]
                if task == actor:
                    break
                if isinstance(other, second) and _related(event, other):
                    pairs.append((at, to))
                    break
        if not pairs:
            return None
        at, to = rng.choice(pairs)
        return [*log[:at], *log[at + 1 : to + 1], log[at], *log[to + 1 :]]

    return alter


def _related(one: Event, other: Event) -> bool:
    if isinstance(one, VM_WIDE) or isinstance(other, VM_WIDE):
        return getattr(one, "vm", None) in (None, getattr(other, "vm", getattr(one, "vm", None)))
    return bool(names_of(one) & names_of(other))


def other_frame(log: Log, rng: random.Random) -> Log | None:
    """One task's operation uses a frame of its own from get_pfn to map, the touches after it included or not."""
    used = Counter(event.pfn for _, event in log if getattr(event, "pfn", -1) >= 0)  # type: ignore[attr-defined]
    at = places(log, lambda at: getattr(log[at][1], "pfn", -1) >= 0 and used[log[at][1].pfn] > 2, rng)  # type: ignore[attr-defined]
    if at is None:
        return None
    actor, frame = log[at][0], log[at][1].pfn  # type: ignore[attr-defined]
    if all(task == actor for task, event in log if getattr(event, "pfn", -1) == frame):
        # Nobody else names it: a consistent change of all would be a renaming, so change one step.
        found = log[:]
        found[at] = actor, structs.replace(log[at][1], pfn=_fresh(log))
        return found
    fresh = _fresh(log)
    return [
        (task, structs.replace(event, pfn=fresh))
        if task == actor and getattr(event, "pfn", -1) == frame else (task, event)
        for task, event in log
    ]  # fmt: skip


def alias(log: Log, rng: random.Random) -> Log | None:
    """Two pages get one frame, throughout."""
    frames = [frame for frame in frames_of(log) if frame > 0]
    if len(frames) < 2:
        return None
    one, other = rng.sample(frames, 2)
    return renamed(log, lambda frame: one if frame == other else frame)


def touch_elsewhere(log: Log, rng: random.Random) -> Log | None:
    """A guest access goes to a frame that nobody else names."""
    at = places(log, lambda at: isinstance(log[at][1], kvm.GuestTouch), rng)
    if at is None:
        return None
    used = sum(getattr(event, "pfn", -1) == log[at][1].pfn for _, event in log)  # type: ignore[attr-defined]
    if used < 2:
        return None
    return change(log, at, pfn=_fresh(log))


def message_elsewhere(log: Log, rng: random.Random) -> Log | None:
    """The text of a message names a frame that nobody else names, where it named one that others do."""
    known = {getattr(event, "pfn", -1) for _, event in log}

    def told(at: int) -> bool:
        event = log[at][1]
        match = PFN.search(event.detail) if isinstance(event, engine_events.Send) else None
        return match is not None and int(match[1], 0) in known

    at = places(log, told, rng)
    return None if at is None else change(log, at, detail=PFN.sub(f"pfn={_fresh(log):#x}", log[at][1].detail))  # type: ignore[attr-defined]


def _fresh(log: Log) -> int:
    return (max(frames_of(log), default=0) >> 18) + 3 << 18


def change(log: Log, at: int, **values: Any) -> Log:
    found = log[:]
    found[at] = log[at][0], structs.replace(log[at][1], **values)
    return found


def field(name: str, other: Callable[[Any], Any]) -> Alter:
    """One event with another value of a field."""

    def alter(log: Log, rng: random.Random) -> Log | None:
        at = places(log, lambda at: name in log[at][1].__struct_fields__, rng)
        return None if at is None else change(log, at, **{name: other(getattr(log[at][1], name))})

    return alter


def delete(log: Log, rng: random.Random) -> Log | None:
    at = rng.randrange(len(log))
    return log[:at] + log[at + 1 :]


def duplicate(log: Log, rng: random.Random) -> Log | None:
    at = rng.randrange(len(log))
    return [*log[: at + 1], log[at], *log[at + 1 :]]


def other_task(log: Log, rng: random.Random) -> Log | None:
    tasks = sorted({actor for actor, _ in log})
    at = rng.randrange(len(log))
    others = [task for task in tasks if task != log[at][0]]
    if not others:
        return None
    return [*log[:at], (rng.choice(others), log[at][1]), *log[at + 1 :]]


def cut(log: Log, rng: random.Random) -> Log | None:
    return log[: rng.randrange(len(log))]


def swapped_requests(log: Log, rng: random.Random) -> Log | None:
    """An actor serves two requests of one kind in the other order."""
    pairs = []
    for at, (actor, event) in enumerate(log):
        if not isinstance(event, engine_events.Receive):
            continue
        for to in range(at + 1, min(at + 60, len(log))):
            task, other = log[to]
            if task == actor and isinstance(other, engine_events.Receive) and other.id != event.id:
                if (other.at, other.message) == (event.at, event.message):
                    pairs.append((at, to))
                break
    if not pairs:
        return None
    at, to = rng.choice(pairs)
    one, other = log[at][1].id, log[to][1].id  # type: ignore[attr-defined]
    return change(change(log, at, id=other), to, id=one)


FLUSH, TOUCH = (kvm.TlbFlush,), (kvm.GuestTouch,)
SAME: dict[str, Alter] = {
    "frames renamed": rename_frames,
    "messages renumbered": renumber_messages,
    "equivalent order": reorder,
    "all three": everything_equal,
}
DIFFER: dict[str, Alter] = {
    "dependent swap of two tasks": swap_dependent,
    "swap in one task": swap_in_task,
    "flush behind touch": carry(FLUSH, TOUCH),
    "touch behind flush": carry(TOUCH, FLUSH),
    "free behind touch": carry((kvm.FreePage,), (kvm.GuestTouch, kvm.Map)),
    "touch or map behind free": carry((kvm.GuestTouch, kvm.Map), (kvm.FreePage,)),
    "RMP, S-EPT: other order on a frame": carry(
        (kvm.HardwareOp,), (kvm.HardwareOp, kvm.Prepare, kvm.ArchInvalidate)
    ),
    "prepare behind invalidate": carry((kvm.Prepare,), (kvm.ArchInvalidate, kvm.FreePage)),
    "invalidation behind snapshot": carry((kvm.MmuInvStart,), (kvm.Faultin,)),
    "snapshot behind invalidation": carry((kvm.Faultin,), (kvm.MmuInvStart,)),
    "end of invalidation behind map": carry((kvm.MmuInvEnd,), (kvm.Map,)),
    "slot behind fault": carry((kvm.SlotPublish,), (kvm.TdpFault,)),
    "lock behind lock": carry((engine_events.Lock,), (engine_events.Lock,), 60),
    "operation on another frame": other_frame,
    "two pages, one frame": alias,
    "touch of a frame never mapped": touch_elsewhere,
    "message of another frame": message_elsewhere,
    "other errno": field("ret", lambda ret: -5 if ret != -5 else -11),
    "other lock mode": field("mode", lambda mode: "r" if mode == "w" else "w"),
    "other page": field("gfn", lambda gfn: gfn + 7),
    "other index": field("index", lambda index: index + 7),
    "wider range": field("end", lambda end: end + 1),
    "other content": field("value", lambda value: value + "'"),
    "deleted": delete,
    "twice": duplicate,
    "by another task": other_task,
    "cut off": cut,
    "requests served in other order": swapped_requests,
}
