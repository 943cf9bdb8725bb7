"""What a trace says of conversions whose call no probe shows: gfns of which kind, inside a range, outside, mapped."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from ..actors.errno import EFAULT
from ..actors.fault import RetPf

if TYPE_CHECKING:
    from .trace import Step, Trace

#: Pages of a file up to which each is looked at; beyond, only those that faults touch.
_SMALL: Final = 512
#: Conversions that a clue may be spread over; one that is spread more says little.
_SPREAD: Final = 8


class Conversion(NamedTuple):
    """What shows of one conversion: positions in the trace.

    Attributes:
        begun: the thread's event before it, or the end of the conversion before: it began behind.
        pre: its hook before the zap, under mmu_lock.
        zapping, zapped: the zap's first and last event; the kinds change behind it.
        zaps: mappings that it takes away, at least; 0: none at all; None if the trace does not say.
        ending: the end of its invalidation; the kinds have changed by then.
        ended: the next event of the thread.
    """

    thread: str
    begun: int
    pre: int
    zapping: int
    zapped: int
    zaps: int | None
    ending: int
    ended: int


class Clue(NamedTuple):
    """Something that one of several neighbouring states must explain.

    Attributes:
        gfn: number in `Evidence.gfns`.
        first: the first of the states; state 0 is before all conversions, state n after n of them.
        kind: in one of them the gfn is private (1) or shared (0); None: see below.
        flips: one of the conversions that lead to the states changes the gfn's kind; else one has it in its range.
        or_shared: that the gfn is shared in one of the states explains it too.
    """

    gfn: int
    first: int
    kind: int | None = None
    flips: bool = False
    or_shared: bool = False


class Evidence:
    """Everything that is known, by conversion; sets of gfns are bits, numbers in `gfns`.

    Attributes:
        inside, outside: gfns that the range must, and must not hold.
        clues: by the number of the last conversion that a clue is about.
    """

    def __init__(self, conversions: list[Conversion], gfns: list[int], private_at_start: int) -> None:
        self.conversions = conversions
        self.gfns = gfns
        self.private_at_start = private_at_start
        count = len(conversions)
        self.inside = [0] * count
        self.outside = [0] * count
        self.clues: dict[int, list[Clue]] = {}
        self._number = {gfn: number for number, gfn in enumerate(gfns)}
        self._seen = [[0, 0] for _ in range(count + 1)]
        self._next: list[list[int]] = []
        #: Gfns mapped, then a hole, and how many of it are taken away (see `Conversion.zaps`).
        self._mapped: list[list[tuple[int, int, int | None]]] = [[] for _ in range(count + 1)]
        self._zapping = [conversion.zapping for conversion in conversions]
        self._zapped = [conversion.zapped for conversion in conversions]
        self._ending = [conversion.ending for conversion in conversions]
        self._pre = [conversion.pre for conversion in conversions]
        self._begun = [conversion.begun for conversion in conversions]
        self._ended = [conversion.ended for conversion in conversions]

    def number(self, gfn: int) -> int:
        return self._number[gfn]

    # -- asked by the search ---------------------------------------------------------------------

    def seen(self, number: int, private: int) -> tuple[int, int]:
        """Gfns seen of this kind, and of the other, between conversion `number` and the next."""
        kinds = self._seen[number + 1]
        return kinds[private], kinds[1 - private]

    def next_seen(self, number: int, private: int) -> int:
        """Gfns that are of this kind when they are next seen after conversion `number`."""
        if not self._next:
            shared = private_ = 0
            for seen in reversed(self._seen):
                once = seen[0] ^ seen[1]
                shared = (shared & ~seen[1]) | (seen[0] & once)
                private_ = (private_ & ~seen[0]) | (seen[1] & once)
                self._next.append([shared, private_])
            self._next.reverse()
        return self._next[number + 1][private]

    def mapped_before(self, number: int, mapped: int) -> tuple[int, int]:
        """Gfns mapped at the zap of conversion `number`, given those mapped behind the zap of the one before.

        With it the number of holes punched in between whose zap took something away, or nothing, against the trace.
        """
        wrong = 0
        for added, hole, zaps in self._mapped[number]:
            mapped |= added
            if hole and zaps is not None:
                taken = mapped & hole
                wrong += bool(taken) if zaps == 0 else taken.bit_count() < zaps
            mapped &= ~hole
        return mapped, wrong

    # -- told by `collect` -----------------------------------------------------------------------

    def saw_kind(self, gfn: int, private: int, first: int, last: int) -> None:
        """A fault read the kind between two positions."""
        self._saw_kind(gfn, private, bisect_left(self._ending, first), bisect_left(self._zapped, last))

    def passed_with_kind(self, gfn: int, private: int, first: int, last: int, map_at: int | None) -> None:
        """The same, by a fault that then found no invalidation of the gfn since it had read the sequence.

        So of a conversion that has the gfn in its range it saw all or nothing; if it went on to the map, all of
        those that had ended by then.
        """
        if map_at is not None:
            low = high = bisect_left(self._ending, map_at)
        else:
            low, high = bisect_left(self._pre, first), bisect_left(self._ending, last)
        self._saw_kind(gfn, private, low, high)

    def _saw_kind(self, gfn: int, private: int, low: int, high: int) -> None:
        if low >= high:
            self._seen[low][private] |= 1 << self.number(gfn)
        else:
            self._clue(Clue(self.number(gfn), low, kind=private), high)

    def saw_flip(self, gfn: int, first: int, last: int) -> None:
        """A fault read both kinds, one after the other."""
        low, high = bisect_left(self._ending, first), bisect_left(self._zapped, last)
        self._clue(Clue(self.number(gfn), low + 1, flips=True), high)

    def saw_inside(self, gfn: int, first: int, last: int) -> None:
        """A fault met an invalidation of the gfn, or (of shared memory) any that ended meanwhile."""
        low, high = bisect_left(self._ended, first), bisect_right(self._begun, last)
        moved = any(first <= ending <= last for ending in self._ending[low:high])
        if high - low == 1 and not moved:
            self.inside[low] |= 1 << self.number(gfn)
        elif low < high:
            self._clue(Clue(self.number(gfn), low + 1, or_shared=moved), high)

    def invalidating_since(self, position: int) -> int:
        """Beginning of the conversion in progress at a position; the position itself if there is none."""
        number = bisect_left(self._ended, position)
        return min(position, self._begun[number]) if number < len(self._begun) else position

    def saw_outside(self, gfn: int, first: int, last: int, holes: list[_Hole]) -> None:
        """A fault met no invalidation of the gfn, somewhere between two positions.

        As long as one is in progress the range of another that ends meanwhile stays part of the whole.
        """
        number = self.number(gfn)
        for conversion in range(bisect_right(self._ending, last), bisect_left(self._zapping, first)):
            self.outside[conversion] |= 1 << number
        for hole in holes:
            # What was in progress together with the hole, if one of the two still is.
            low = bisect_right(self._ending, max(hole.zapping, -1 if hole.ending > last else last))
            high = bisect_left(self._zapping, min(hole.ending, first))
            if hole.zapping < first:
                above = gfn >= hole.end
                joined = (1 << len(self.gfns)) - (1 << number) if above else (2 << number) - 1
                for conversion in range(low, high):
                    self.outside[conversion] |= joined

    def saw_map(self, gfn: int, position: int) -> None:
        self._saw_change(position, 1 << self.number(gfn), 0, None)

    def saw_zap(self, first: int, end: int, zaps: int | None, position: int) -> None:
        """A hole was punched: gfns [first, end)."""
        low, high = bisect_left(self.gfns, first), bisect_left(self.gfns, end)
        self._saw_change(position, 0, (1 << high) - (1 << low), zaps)

    def _saw_change(self, position: int, added: int, hole: int, zaps: int | None) -> None:
        number = bisect_left(self._zapping, position)
        if number and position < self._zapped[number - 1]:
            # In the middle of a conversion's zap, which let others have mmu_lock: it took away some, not all.
            zaps = None
        changes = self._mapped[number]
        if changes and not changes[-1][1]:
            added |= changes.pop()[0]
        changes.append((added, hole, zaps))

    def _clue(self, clue: Clue, state: int) -> None:
        if 0 < state <= len(self.conversions) and state - clue.first < _SPREAD:
            self.clues.setdefault(state - 1, []).append(clue)


def collect(trace: Trace) -> Evidence:
    """Read the evidence off a trace."""
    conversions = sorted(
        (found for steps in trace.threads.values() for found in _conversions(steps)), key=lambda c: c.pre
    )
    for number, before in enumerate(conversions[:-1], 1):
        conversions[number] = conversions[number]._replace(
            begun=max(conversions[number].begun, before.ending)
        )
    # A range over two slots would show its hook twice.
    ours = range(trace.data_gfn, trace.data_gfn + trace.pages)
    faults = [fault for steps in trace.threads.values() for fault in _faults(steps) if fault.gfn in ours]
    gfns = sorted(ours if trace.pages <= _SMALL else {fault.gfn for fault in faults})
    evidence = Evidence(conversions, gfns, (1 << len(gfns)) - 1)
    holes = [hole for steps in trace.threads.values() for hole in _holes(steps, trace.data_gfn)]
    # In the order of the trace, since a zap takes what was mapped before.
    changes: list[tuple[int, _Fault | _Hole]] = [(hole.zapping, hole) for hole in holes]
    changes += [(fault.map_at, fault) for fault in faults if fault.map_at is not None]
    for position, change in sorted(changes, key=lambda change: change[0]):
        if isinstance(change, _Fault):
            evidence.saw_map(change.gfn, position)
        else:
            evidence.saw_zap(change.start, change.end, change.zaps, position)
    for fault in faults:
        _tell(evidence, fault, holes)
    return evidence


class _Fault(NamedTuple):
    """One attempt of the fault handler: positions in the trace, and what it returned."""

    gfn: int
    entry: int
    begun: int
    get_pfn: int | None
    map_at: int | None
    end: int
    ret: int


class _Hole(NamedTuple):
    """A hole punched: gfns, positions of the call's first and last event, and as in `Conversion`."""

    start: int
    end: int
    begun: int
    zapping: int
    ending: int
    ended: int
    zaps: int | None


def _tell(evidence: Evidence, fault: _Fault, holes: list[_Hole]) -> None:
    reached = fault.map_at if fault.get_pfn is None else fault.get_pfn
    if reached is not None:
        private = int(fault.get_pfn is not None)
        evidence.saw_kind(fault.gfn, private, fault.entry, fault.begun)
        evidence.passed_with_kind(fault.gfn, private, fault.begun, reached, fault.map_at)
        evidence.saw_outside(fault.gfn, fault.begun, reached, holes)
        if fault.map_at is not None:
            evidence.saw_outside(fault.gfn, fault.map_at, fault.map_at, holes)
    elif fault.ret == EFAULT:
        evidence.saw_flip(fault.gfn, fault.entry, fault.end)
    elif fault.ret == RetPf.RETRY:
        # The invalidation of a hole explains a retry as well; ranges of two at once are merged until both have ended.
        since = evidence.invalidating_since(fault.begun)
        if not any(hole.begun < fault.end and since < hole.ended for hole in holes):
            evidence.saw_inside(fault.gfn, fault.begun, fault.end)


def _conversions(steps: list[Step]) -> list[Conversion]:
    found = []
    for number, step in enumerate(steps):
        if step.name != "set_attributes_pre":
            continue
        zapping, zapped, zaps = _zap(steps, number)
        ending = ended = 1 << 60
        for later in range(number + 1, len(steps)):
            if steps[later].name == "mmu_inv_end":
                ending = ended = steps[later].position
                if later + 1 < len(steps):
                    ended = steps[later + 1].position
            if steps[later].name in ("mmu_inv_end", "set_attributes_pre"):
                break
        begun = steps[number - 1].position if number else 0
        found.append(Conversion(step.thread, begun, step.position, zapping, zapped, zaps, ending, ended))
    return found


def _zap(steps: list[Step], number: int) -> tuple[int, int, int | None]:
    """First and last position of the zap that follows step `number`, and how many mappings it takes away."""
    zapping = steps[number].position
    inner = 0
    for step in steps[number + 1 :]:
        if step.name == "zap":
            zapping = step.position
        elif step.name == "tlb_flush":
            # Where it lets others have mmu_lock it flushes what it took away so far.
            inner = 1
        elif step.name == "zap_ret":
            return zapping, step.position, inner + (step.observation.a == 1)
        elif step.name in ("mmu_inv_end", "set_attributes_pre", "fallocate_ret"):
            break
    return zapping, zapping, None


def _holes(steps: list[Step], data_gfn: int) -> list[_Hole]:
    found = []
    hole: _Hole | None = None
    for number, step in enumerate(steps):
        obs = step.observation
        if step.name == "fallocate" and obs.a and isinstance(obs.b, int) and isinstance(obs.c, int):
            zapping, _, zaps = _zap(steps, number)
            start, end = data_gfn + obs.b, data_gfn + obs.c
            hole = _Hole(start, end, step.position, zapping, zapping, zapping, zaps)
        elif hole is not None and step.name == "mmu_inv_end":
            hole = hole._replace(ending=step.position)
        elif step.name == "fallocate_ret" and hole is not None:
            found.append(hole._replace(ended=step.position))
            hole = None
    return found


def _faults(steps: list[Step]) -> list[_Fault]:
    found = []
    gfn = entry = begun = -1
    get_pfn: int | None = None
    map_at: int | None = None
    for step in steps:
        name, position = step.name, step.position
        if name == "page_fault" and isinstance(step.observation.a, int):
            gfn, entry, begun, get_pfn, map_at = step.observation.a, position, position, None, None
        elif gfn < 0:
            continue
        elif name == "tdp_fault":
            begun = position
        elif name == "get_pfn":
            get_pfn = position
        elif name == "map":
            map_at = position
        elif name == "tdp_fault_ret" and isinstance(step.observation.a, int):
            found.append(_Fault(gfn, entry, begun, get_pfn, map_at, position, step.observation.a))
            gfn = -1
    return found
