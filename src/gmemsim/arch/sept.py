"""The secure EPT of a TD: entries, their states, and the lock inside each entry (arch.md 2.1, 2.3).

Keys are `(level, gfn)` with the gfn aligned to the level: level 1 entries are 4K leaves, a level 2 entry is a 2M leaf
or the table that holds 512 of them. Levels above are taken to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.observed import announces, by_key
from ..engine.op import Op

if TYPE_CHECKING:
    from ..engine.op import Mode, OpKind
    from ..engine.task import Task
    from .choices import TdxChoices

#: 4K pages of a 2M page.
PAGES_2M: Final = 512


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


#: Where the ranges of entries of level 2 are, by region, apart from those of level 1, by gfn.
LARGE: Final = 1 << 53


def _place(key: tuple[int, int]) -> tuple[int, int]:
    """Range of an entry."""
    level, gfn = key
    low = gfn if level == 1 else LARGE + (gfn >> 9)
    return low, low + 1


def _own(entry: SeptEntry) -> tuple[str, int, int]:
    return entry.label, *_place(entry.key)


@announces(state=_own, pfn=_own, bepoch=_own, lock=_own, host_priority=_own, accepted=_own)
class SeptEntry:
    """One entry.

    Attributes:
        label, key: the tree's, and where in it the entry is.
        state: see `SeptState`.
        pfn: the frame of a leaf.
        bepoch: the TD epoch in which the entry was blocked.
        lock: "", "host" or "guest".
        host_priority: a host call lost the entry to the guest; the guest's next tries fail.
        accepted: of a 2M page that is pending, how many 4K the guest's accept has done; BLOCK begins anew.
    """

    #: Known by where the entry stands.
    __digest_skip__ = ("key", "label")
    __slots__ = ("accepted", "bepoch", "host_priority", "key", "label", "lock", "pfn", "state")

    def __init__(self, label: str, key: tuple[int, int]) -> None:
        self.label = label
        self.key = key
        self.state: str = SeptState.FREE
        self.pfn = -1
        self.bepoch = 0
        self.lock = ""
        self.host_priority = False
        self.accepted = 0

    @property
    def leaf(self) -> bool:
        return self.state not in (SeptState.FREE, SeptState.NL_MAPPED, SeptState.NL_BLOCKED)

    @property
    def blocked(self) -> bool:
        return self.state in BLOCKED_FORM.values()


@announces(entries=by_key(lambda sept: sept.label, _place))
class Sept:
    """The tree of one TD.

    Attributes:
        label: object of its ops; ranges are gfns, and those of entries of level 2 behind `LARGE`.
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
        return Op(kind, self.label, *_place(self.key(gfn, level)), mode)

    def find(self, gfn: int, level: int = 1) -> SeptEntry | None:
        """The entry, or None if it is free and nobody locks it; no trap."""
        return self.entries.get(self.key(gfn, level))

    def state(self, gfn: int, level: int = 1) -> str:
        """State of the entry; no trap."""
        entry = self.find(gfn, level)
        return SeptState.FREE if entry is None else entry.state

    def walk(self, gfn: int) -> SeptEntry | None:
        """The leaf that a guest access finds, whatever its state; None if its table is missing or blocked."""
        top = self.find(gfn, 2)
        if top is None or top.leaf:
            return top
        return self.find(gfn) if top.state == SeptState.NL_MAPPED else None

    def large(self, gfn: int) -> bool:
        """Whether a 2M leaf maps `gfn`, whatever its state; no trap."""
        top = self.find(gfn, 2)
        return top is not None and top.leaf

    def frame(self, gfn: int, entry: SeptEntry) -> int:
        """The frame of `gfn` in the leaf that `walk` found."""
        return entry.pfn + (gfn & (PAGES_2M - 1) if self.large(gfn) else 0)

    def made(self, key: tuple[int, int]) -> SeptEntry:
        """The entry, made if it is free."""
        found = self.entries.get(key)
        if found is None:
            found = self.entries[key] = SeptEntry(self.label, key)
        return found

    async def try_lock(self, t: Task, gfn: int, level: int, guest: bool) -> SeptEntry | None:
        """Lock the entry for the host or the guest, or return None at once."""
        if t.traps:
            await t.point(self.op("try", gfn, level))
        entry = self.made(self.key(gfn, level))
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
