"""Steps, operations and events in a few words: what a line of a lane, a tooltip or a slice says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..actors.errno import errno_name
from ..actors.fault import RET_PF
from ..audit.events import Contended, Lock, LockRequest, Receive, Send, Unlock
from ..audit.kvm_events import FaultinRet, MapRet, TdpFaultRet
from ..audit.vocabulary import name_of
from ..engine.op import ALL

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..engine.op import Op

_HEX: Final = frozenset({"gfn", "gpa", "pfn"})
_GUEST: Final = frozenset({"arch_invalidate", "arch_invalidate_range", "attr_store", "set_attributes", "zap"})
#: Of a hold or a wait; `?`: no event told.
MODES: Final = {"r": "shared", "w": "exclusive", "?": "mode unknown"}
_KINDS: Final = {
    "locks": "lock",
    "vCPU fault": "fault",
    "guest_memfd": "gmem",
    "page cache": "cache",
    "MMU invalidation": "mmu",
    "attributes": "attr",
    "in-place": "attr",
    "arch": "arch",
    "host": "host",
    "messages": "message",
    "engine": "engine",
}


def fields_of(event: Event) -> dict[str, Any]:
    """The fields by name, in declared order."""
    return {name: getattr(event, name) for name in event.__struct_fields__}


def is_message(event: Event) -> bool:
    """Whether it only tells of a call into an actor, which the first event of the callee tells as well."""
    return isinstance(event, (Receive, Send))


def kind_of(event: Event) -> str:
    """A short word for the event's family, for colours and categories."""
    return _KINDS.get(event.family, "other")


def mirrors(event: Event) -> str:
    """The kernel function that the event stands for."""
    return event.mirrors


def lock_of(op: Op) -> str:
    """Label of the lock or object that the operation is on, as events write it."""
    return f"{op.obj}[{op.lo}]" if op.obj.endswith(".folio") and op.hi == op.lo + 1 else op.obj


def pages(lo: int, hi: int, hexadecimal: bool = False) -> str:
    """A half-open range."""
    if hexadecimal:
        return f"{lo:#x}" if hi == lo + 1 else f"[{lo:#x}, {hi:#x})"
    return f"{lo}" if hi == lo + 1 else f"[{lo}, {hi})"


def event_text(event: Event) -> str:
    """The event on one line, without the task."""
    if isinstance(event, Lock):
        return f"has {event.lock} ({event.mode})"
    if isinstance(event, Unlock):
        return f"gives back {event.lock} ({event.mode})"
    if isinstance(event, Contended):
        return f"must wait for {event.lock} ({event.mode})"
    if isinstance(event, LockRequest):
        return f"asks for {event.lock} ({event.mode})"
    name = name_of(type(event))
    values = fields_of(event)
    words = [name]
    if {"start", "end"} <= values.keys():
        start, end = values.pop("start"), values.pop("end")
        words.append(pages(start, end, name in _GUEST))
    words += [_field(field, value, event) for field, value in values.items()]
    return " ".join(word for word in words if word)


def _field(name: str, value: Any, event: Event) -> str:
    if isinstance(value, bool):
        return name if value else f"{name}=no"
    if isinstance(value, str):
        return value if name in {"file", "vm", "filter", "reason", "state", "result"} else f"{name}={value}"
    if value < 0:
        return f"{name}=-{errno_name(value)}"
    if name == "ret" and isinstance(event, (FaultinRet, MapRet, TdpFaultRet)):
        return f"{name}={RET_PF.get(value, value)}"
    return f"{name}={value:#x}" if name in _HEX else f"{name}={value}"


def op_text(op: Op, primitive: str = "") -> str:
    """The operation as a call: `down_write(gmem0.invalidate_lock)`, `load vm0.seq`."""
    label = lock_of(op)
    if op.kind == "start":
        return "starts"
    if primitive:
        return f"{_named(op.obj, primitive)}({label})"
    if label == op.obj and (op.lo, op.hi) != (0, ALL):
        label = (
            f"{op.obj}[{pages(op.lo, op.hi, op.obj.endswith(('.spte', '.attributes', '.tables', 'frame')))}]"
        )
        label = label.replace("[[", "[").replace(")]", ")")
    return f"{op.kind} {label}"


def _named(obj: str, primitive: str) -> str:
    """The kernel's name of a lock's method."""
    if obj.endswith(".folio"):
        return f"folio_{primitive}"
    if obj.endswith(".srcu"):
        return f"srcu_{primitive}"
    if primitive in {"lock", "trylock", "unlock"}:
        return f"mutex_{primitive}"
    return primitive
