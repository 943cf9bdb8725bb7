"""The results of a run against a sequential model of a page.

No system call on a range is atomic across its pages, nor does the kernel promise that; for each page the calls must
look as if they had been done one after another. So the history is cut up by page, and each is checked alone (pages
share nothing that a result depends on). That the run then ends in the state that the model ends in is part of the
check: it is the result of a last operation.

The model of a page is (present, content, content of the shared memory beside the file, private):

* a guest access that goes through takes place in the file if the frame is private, or the slot is for guest_memfd
  only, else in the memory beside; a load sees what was stored there last, and zero after a hole was punched;
* a host access that goes through takes place in the file; with conversion in place it does so while the page is
  shared, and SIGBUS of a page says that it is private;
* PUNCH_HOLE that succeeds leaves no page and zero; allocation that succeeds leaves a page; a conversion that succeeds
  leaves the attribute as asked and no content changed; what fails with -EINVAL and the like changes nothing;
* `exit_memory_fault` of a single page needs a conversion of that page that overlaps it, unless the guest names the
  kind of access itself.

Where hardware keeps private memory apart (SNP, TDX) the content is known from a store on: until a hole, a conversion to
the other kind, an acceptance or a failed access leaves it to keys and firmware. With conversion in place the attribute
is the file's, and guest and host see one content.

Left open, so that nothing is reported that could be right: an access, a pre-fault, a pin or a failed allocation may
leave a page behind; a failed access of several pages may have stored; a VMM that converts at an exit may have done so
up to three times in an access. Not looked at, and said so in `skipped`: versions that write content when they
convert, huge folios, pages that are bound more than once or not at all from the start, and files with memory errors,
population, writes, or with slots or descriptors that come and go.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ...arch.memory import ZERO
from ...oracles.exact import Exact
from ...patches.inplace_v8 import InplaceV8
from ...scenarios import ops
from ...scenarios.thread import CALLS
from ..failure import Failure
from .effects import Place, effect_of, needs_conversion
from .linearize import Interval, frontier, linearizable, overlap
from .modelled import CONVERSIONS, is_beyond
from .page_model import (
    Page,
    perhaps,
    perhaps_converted,
    same,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...scenarios.results import OpResult
    from ...scenarios.session import Session
    from ...scenarios.steps import Step

#: Their values are one a page; a thread that is stopped leaves the rest out.
_LOADS: Final = (ops.Read, ops.HostRead)
#: Histories remembered before all are forgotten.
_HISTORIES: Final = 1 << 14
#: Conversions that an access may bring about by its exits, as far as they are looked at.
_MANY_EXITS: Final = 3


class PageHistories:
    """Checks one session; make it before the session runs, when its setup is done.


    Attributes:
        skipped: why a file is not looked at, by label.
        checked: pages with at least one operation, after `check`.
        undecided: pages whose history was too long to decide.
    """

    #: Goes on from run to run (see `state.heap`).
    __kept__: ClassVar[tuple[str, ...]] = ("_left",)
    exact: ClassVar[Exact] = Exact(
        caching=True,
        reduction=False,
        why="what the results leave open is state; equivalent schedules differ in which call "
        "ended before another began",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.skipped: dict[str, str] = {}
        self.checked = 0
        self.undecided = 0
        self._files = {name: file.inode for name, file in session.machine.files.items()}
        self._places = list(self._find())
        self._initial = {(place.inode.label, place.index): self._now(place) for place in self._places}
        #: By history, what it leaves open, page by page.
        self._left: dict[tuple[object, ...], object] = {}

    @property
    def places(self) -> int:
        """Pages that are looked at."""
        return len(self._places)

    def check(self) -> Failure | None:
        """After the run: the first page whose results no order explains."""
        for place in self._places:
            history = [interval for _, interval in self._history(place)]
            if not history:
                continue
            self.checked += 1
            end = self.session.stamp()
            final = self._now(place)
            history.append(Interval("end", end, end, lambda page, final=final: same(page, final)))  # type: ignore[misc] # bound at once
            wrong = linearizable(history, self._initial[place.inode.label, place.index])
            if wrong is None:
                continue
            order, sure = wrong
            if not sure:
                self.undecided += 1
                continue
            return Failure(
                "linearizability",
                f"no order of the operations on page {place.index} of {place.inode.label} explains their results",
                place.inode.label,
                details={
                    "index": place.index,
                    "history": [(one.name, one.began, one.ended) for one in history],
                    "explained": order,
                    "end": final,
                },
            )
        return None

    def _find(self) -> Iterator[Place]:
        steps = [step for thread in self.session.threads for step in thread.actor.steps]
        beyond = sorted({step.op.name for step in steps if is_beyond(step.op)})
        kernel: object = self.session.machine.kernel
        for inode in self._files.values():
            places = [
                Place(inode, index, file.vm, slot.base_gfn + index - slot.pgoff, slot.gmem_only)
                for file in inode.files
                for slot in file.bindings.values()
                for index in range(slot.pgoff, slot.pgoff + slot.pages)
            ]
            if beyond:
                self.skipped[inode.label] = f"operations {', '.join(beyond)}"
            elif isinstance(kernel, InplaceV8) and kernel.in_place and kernel.content_flags():
                self.skipped[inode.label] = "a conversion may write content"
            elif "HUGETLB" in inode.flags:
                self.skipped[inode.label] = "huge folios: pages come and go together"
            elif len({place.index for place in places}) != len(places):
                self.skipped[inode.label] = "pages that are bound more than once"
            else:
                yield from places

    def _now(self, place: Place) -> Page:
        folio = place.inode.folios.get(place.index)
        content: str | None = ZERO
        if place.vm.arch.hardware_private:
            content = None
        elif folio is not None and folio.uptodate:
            content = self.session.machine.memory.read(folio.pfn)
        return Page(folio is not None, content, None, self._private(place))

    def _private(self, place: Place) -> bool:
        kernel = self.session.machine.kernel
        if self.session.patch.in_place and isinstance(kernel, InplaceV8):
            return place.vm.arch.has_private_memory and kernel.gmem_attr_value(place.inode, place.index)
        return place.gfn in place.vm.attributes

    # -- while it runs -------------------------------------------------------------------------

    def __digest__(self) -> object:
        """What the results so far leave open, page by page: `frontier`, and conversions that must succeed.

        The times of operations are no state. What they decide is which orders of the operations are still possible.
        """
        key = self._so_far()
        found = self._left.get(key)
        if found is None:
            if len(self._left) >= _HISTORIES:
                self._left.clear()
            found = self._left[key] = tuple(self._left_open(place) for place in self._places)
        return found

    def _so_far(self) -> tuple[object, ...]:
        """All that `_left_open` looks at: of times only which came before which."""
        threads = self.session.threads
        results = [thread.results.operations for thread in threads]
        stamps = [stamp for each in results for one in each for stamp in (one.began, one.ended)]
        stamps += [thread.began for thread in threads]
        rank = {stamp: number for number, stamp in enumerate(sorted(stamps))}
        now = [
            (each.doing and each.doing.ident, each.round, rank[each.began], min(_MANY_EXITS, each.exits))
            for each in threads
        ]
        past = [
            (
                number,
                one.call,
                one.lo,
                one.hi,
                one.outcome,
                one.values,
                one.exits,
                rank[one.began],
                rank[one.ended],
            )
            for number, each in enumerate(results)
            for one in each
        ]
        slots = [len(place.vm.slots) for place in self._places]
        return bool(self.session.engine.faults), *slots, *now, *past

    def _left_open(self, place: Place) -> object:
        under_way: dict[str, int] = {}
        counts: list[tuple[str, int]] = []
        for thread in self.session.threads:
            step = thread.doing
            if step is not None and self._position(place, step, *thread.region(step)) is not None:
                under_way[thread.actor.name] = thread.began
                if self._may_convert(thread, step):
                    counts.append((thread.actor.name, min(_MANY_EXITS, thread.exits)))
        needed: list[frozenset[str]] = []
        history = list(self._history(place, under_way, needed))
        initial = self._initial[place.inode.label, place.index]
        return frontier(history, under_way, initial), frozenset(Counter(needed).items()), frozenset(counts)

    # -- the history of a page -----------------------------------------------------------------

    def _history(
        self,
        place: Place,
        under_way: dict[str, int] | None = None,
        needed: list[frozenset[str]] | None = None,
    ) -> Iterator[tuple[tuple[str, int, int], Interval[Page]]]:
        """What was done to a page, with thread, call and a number.

        Args:
            under_way: first stamps of operations on the page that have not ended, by thread.
            needed: is given, for every exit that only a conversion under way can explain, who is at it.
        """
        mine: list[tuple[OpResult, Step, Any, int]] = []
        for thread in self.session.threads:
            steps = {step.ident: step for step in thread.actor.steps}
            for result in thread.results.operations:
                step = steps[result.call % CALLS]
                position = self._position(place, step, result.lo, result.hi)
                if position is not None:
                    mine.append((result, step, thread, position))
        converts = [
            (result.began, result.ended)
            for result, step, _, _ in mine
            if isinstance(step.op, CONVERSIONS) and result.outcome == "ok"
        ]
        converting = [
            (thread.actor.name, thread.began)
            for thread in self.session.threads
            if under_way
            and thread.actor.name in under_way
            and thread.doing is not None
            and isinstance(thread.doing.op, CONVERSIONS)
        ]
        for result, step, thread, position in mine:
            if result.values and position >= len(result.values) and isinstance(step.op, _LOADS):
                continue  # stopped before it came to this page
            known = converts
            if converting and needed is not None and not any(overlap(result, one) for one in converts):
                if needs_conversion(place, result, step):
                    needed.append(frozenset(name for name, began in converting if began <= result.ended))
                known = [*converts, *((began, result.ended) for _, began in converting)]
            effect = effect_of(self.session, place, result, step, thread.actor.name, position, known)
            if effect is None:
                continue
            name = f"{thread.actor.name}.{result.call} {result.op}={result.outcome}"
            call = (thread.actor.name, result.call)
            yield (*call, 0), Interval(name, result.began, result.ended, effect)
            if isinstance(step.op, ops.Punch) and not self.session.patch.in_place:
                # truncate_inode_pages_range goes over the range until nothing is left: also what a host fault, which
                # takes no invalidate lock in these versions, has put there meanwhile.
                again = partial(perhaps, effect)
                yield (*call, 1), Interval(f"{name}, once more", result.began, result.ended, again)
            if self._may_convert(thread, step):
                # Every exit may have brought a conversion, which is over before the access goes through.
                converted = perhaps_converted(place.vm.arch.hardware_private)
                for number in range(min(_MANY_EXITS, result.exits)):
                    yield (
                        (*call, number + 1),
                        Interval(f"{name}, exit {number}", result.began, result.ended, converted),
                    )

    @staticmethod
    def _may_convert(thread: Any, step: Step) -> bool:
        return isinstance(step.op, ops.GuestAccess) and thread.vmm.on_memory_fault == "convert"

    def _position(self, place: Place, step: Step, lo: int, hi: int) -> int | None:
        """Which page of the operation on `lo` to `hi` it is; None if the operation is about other pages."""
        op = step.op
        if isinstance(op, (ops.GuestAccess, ops.GuestRange)):
            number = place.gfn if step.vm == place.vm.label else -1
            if getattr(op, "address", None) is not None:
                return None  # raw addresses are there to fail
        elif isinstance(op, ops.FileRange):
            same = step.file is not None and self._files.get(step.file.id) is place.inode
            number = place.index if same and getattr(op, "offset", None) is None else -1
        elif isinstance(op, ops.MapRange):
            same = step.map is not None and self._files.get(step.map.file) is place.inode
            number = place.index - step.map.start if same and step.map is not None else -1
        else:
            return None
        return number - lo if lo <= number < hi else None
