"""The secure EPT of a TD: entries, their states, and the lock inside each entry (spec arch.md §2.1, §2.3).

Keys are `(level, gfn)` with the gfn aligned to the level: level 1 entries are 4K leaves, a level 2 entry is
the table that holds 512 of them (or, later, a 2M leaf). Levels above are taken to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.op import Op

if TYPE_CHECKING:
    from ..engine.op import Mode, OpKind
    from ..engine.task import Task
    from .choices import TdxChoices

__all__ = ["BLOCKED_FORM", "Sept", "SeptEntry", "SeptState"]


class SeptState:
    """States of an entry; NL_ is a non-leaf (a table)."""

    FREE: Final = "free"
    NL_MAPPED: Final = "nl_mapped"
    NL_BLOCKED: Final = "nl_blocked"
    PENDING: Final = "pending"
    PENDING_BLOCKED: Final = "pending_blocked"
    MAPPED: Final = "mapped"
    BLOCKED: Final = "blocked"


#: What RANGE.BLOCK makes of a state; a state that is no key cannot be blocked.
BLOCKED_FORM: Final = {
    SeptState.NL_MAPPED: SeptState.NL_BLOCKED,
    SeptState.PENDING: SeptState.PENDING_BLOCKED,
    SeptState.MAPPED: SeptState.BLOCKED,
}


class SeptEntry:
    """One entry.

    Attributes:
        state: see `SeptState`.
        pfn: the frame of a leaf.
        bepoch: the TD epoch in which the entry was blocked.
        lock: "", "host" or "guest".
        host_priority: a host call lost the entry to the guest; the guest's next tries fail.
    """

    __slots__ = ("bepoch", "host_priority", "lock", "pfn", "state")

    def __init__(self) -> None:
        self.state: str = SeptState.FREE
        self.pfn = -1
        self.bepoch = 0
        self.lock = ""
        self.host_priority = False

    @property
    def leaf(self) -> bool:
        return self.state not in (SeptState.FREE, SeptState.NL_MAPPED, SeptState.NL_BLOCKED)

    @property
    def blocked(self) -> bool:
        return self.state in BLOCKED_FORM.values()


class Sept:
    """The tree of one TD.

    Attributes:
        label: object of its ops; ranges are gfns.
        entries: everything that is not free, and free entries while they are locked.
    """

    __slots__ = ("choices", "entries", "label")

    def __init__(self, label: str, choices: TdxChoices) -> None:
        self.label = label
        self.choices = choices
        self.entries: dict[tuple[int, int], SeptEntry] = {}

    @staticmethod
    def key(gfn: int, level: int) -> tuple[int, int]:
        """Where the entry of `gfn` at `level` is."""
        return level, gfn >> (9 * (level - 1)) << (9 * (level - 1))

    def op(self, kind: OpKind, gfn: int, level: int = 1, mode: Mode = "w") -> Op:
        """The op of a step on that entry."""
        _, lo = self.key(gfn, level)
        return Op(kind, self.label, lo, lo + (1 << (9 * (level - 1))), mode)

    def find(self, gfn: int, level: int = 1) -> SeptEntry | None:
        """The entry, or None if it is free and nobody locks it; no trap."""
        return self.entries.get(self.key(gfn, level))

    def state(self, gfn: int, level: int = 1) -> str:
        """State of the entry; no trap."""
        entry = self.find(gfn, level)
        return SeptState.FREE if entry is None else entry.state

    def walk(self, gfn: int) -> SeptEntry | None:
        """The leaf that a guest access finds, whatever its state; None if its table is missing or blocked."""
        if self.state(gfn, 2) != SeptState.NL_MAPPED:
            return None
        return self.find(gfn)

    async def try_lock(self, t: Task, gfn: int, level: int, guest: bool) -> SeptEntry | None:
        """Lock the entry for the host or the guest, or return None at once."""
        if t.traps:
            await t.point(self.op("try", gfn, level))
        entry = self.entries.setdefault(self.key(gfn, level), SeptEntry())
        if entry.lock:
            if not guest and entry.lock == "guest" and self.choices.host_priority:
                entry.host_priority = True
            return None
        if guest:
            if entry.host_priority:
                return None
            entry.lock = "guest"
        else:
            entry.host_priority = False
            entry.lock = "host"
        return entry

    def unlock(self, gfn: int, level: int) -> None:
        """Drop the lock, as part of the step that changed the entry."""
        key = self.key(gfn, level)
        entry = self.entries[key]
        entry.lock = ""
        if entry.state == SeptState.FREE and not entry.host_priority:
            del self.entries[key]
