"""What is observed of a run, beside the results of its operations: a choice of counts, part of the state of a search.

Counts are kept in the run and belong to its state, so a search that cuts a run at a state that it knows cuts only runs
that counted the same. The fewer names are watched, the fewer states there are. A count stops at `MOST`: loops that go
round for as long as the scheduler likes would else have no end of states.

Names:

* `results`: what every operation of every task came to, a list a task. `cache`: the pages in each file's page cache,
  with `u` if the folio is uptodate. `errors`: which functions returned which errno.
* `contents`: what is in each page of each file. `frames`: which page and which stage-2 entry has which frame; frames
  are numbered by the pages, so that names do not count. `arch`: the RMP state of the page's frame (snp), the S-EPT
  entry (tdx) or EL2's page state (pkvm); nothing for other VM types. All three as they are in the end.
* an event's name: how often it happened. Hooks that 7.3 renamed count under the old name (`prepare`,
  `arch_invalidate`). `prepare_did` and `prepare_noop` tell the prepares that had something to do from the others,
  `map_level1`, `retry_late`, `zap_private`, … are the event with a field's value behind it. `lock_invalidate_lock_w` is
  how often a lock of that class was taken in that mode. `cleared` is the number of pages cleared.
* `first`: the watched events in the order of their first time.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from ..actors.errno import errno_name
from ..audit.events import Lock
from ..audit.kvm_events import Clear
from ..audit.vocabulary import name_of, vocabulary
from ..nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..audit.base import Event
    from ..scenarios.session import Session

MOST: Final = 8
#: A huge page is cleared page by page.
_MOST_PAGES: Final = 1 << 20
_OLD_NAMES: Final = {
    "make_private": "prepare",
    "make_private_ret": "prepare_ret",
    "arch_reclaim": "arch_invalidate",
}
#: Fields whose value may stand behind an event's name.
_TELLING: Final = ("reason", "filter", "state", "op", "flag", "result", "level")
LISTS: Final = ("results", "cache", "contents", "frames", "arch", "errors", "first")
#: Counts that are no event's.
_OTHERS: Final = ("cleared", "prepare_did", "prepare_noop")
_PLACE: Final = re.compile(r"\[\d+\]|^(?:gmem|vm|mm)\d+\b[.@]?")
_LOCK: Final = re.compile(r"lock_\w+_[rw]")


class Tally:
    """Counts of one run.

    Args:
        names: what to count; the rest is not looked at.
        most: where a count stops.
    """

    def __init__(self, names: frozenset[str], most: int = MOST) -> None:
        self.names = names
        self.most = most
        self.counts: dict[str, int] = {}
        self.first: list[str] = []
        self.errors: dict[str, bool] = {}

    def rec(self, task: Any, event: Event) -> None:
        """Take an event in."""
        name = name_of(event.__class__)
        name = _OLD_NAMES.get(name, name)
        if "errors" in self.names:
            ret = getattr(event, "ret", 0)
            if ret < 0:
                self.errors[f"{name.removesuffix('_ret')} {errno_name(ret)}"] = True
        self._count(name)
        for field in _TELLING:
            value = getattr(event, field, None)
            if value is not None:
                self._count(f"{name}_{field if field == 'level' else ''}{value}")
        if name == "prepare_ret":
            self._count("prepare_did" if getattr(event, "did", False) else "prepare_noop")
        elif isinstance(event, Lock):
            self._count(f"lock_{_PLACE.sub('', event.lock)}_{event.mode}")
        elif isinstance(event, Clear):
            self._count("cleared", event.pages, _MOST_PAGES)

    def _count(self, name: str, by: int = 1, most: int = 0) -> None:
        if name not in self.names:
            return
        self.counts[name] = min(self.counts.get(name, 0) + by, most or self.most)
        if "first" in self.names and name not in self.first:
            self.first.append(name)


def observe(session: Session, tally: Tally) -> dict[str, Any]:
    """What was asked for, by name, in alphabetical order; `results` is a list under each task's name."""
    found: dict[str, Any] = {}
    for name in tally.names:
        if name == "results":
            for task, results in session.results.items():
                found[task] = [
                    f"{r.op}={r.outcome}{':' + ','.join(r.values) if r.values else ''}"
                    for r in results.operations
                ]
        elif name == "cache":
            found[name] = [
                f"{inode.label}[{index}]{'u' if folio.uptodate else ''}"
                for inode in session.machine.inodes
                for index, folio in sorted(inode.folios.items())
            ]
        elif name in _AT_THE_END:
            found[name] = _AT_THE_END[name](session)
        elif name == "errors":
            found[name] = sorted(tally.errors)
        elif name == "first":
            found[name] = list(tally.first)
        else:
            found[name] = tally.counts.get(name, 0)
    return dict(sorted(found.items()))


def _folios(session: Session) -> Iterator[tuple[str, int, range]]:
    """Every folio in a file's page cache: the file, its index and its frames."""
    for inode in session.machine.inodes:
        for index, folio in sorted(inode.folios.items()):
            yield inode.label, index, range(folio.pfn, folio.pfn + (1 << folio.order))


def _page_by_page(session: Session, value: Callable[[int], str]) -> list[str]:
    """What `value` says of the frame of each page; of neighbours in a folio that are alike, once."""
    found: list[str] = []
    for label, index, frames in _folios(session):
        for said, alike in groupby(frames, value):
            pages = list(alike)
            first, last = (index + pfn - frames.start for pfn in (pages[0], pages[-1]))
            found.append(f"{label}[{_range(first, last)}]={said}")
    return found


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _contents(session: Session) -> list[str]:
    return _page_by_page(session, session.machine.memory.content)


def _frames(session: Session) -> list[str]:
    found: list[str] = []
    names: dict[int, str] = {}
    for number, (label, index, frames) in enumerate(_folios(session)):
        names |= {
            pfn: f"f{number}" + (f"+{pfn - frames.start}" if pfn > frames.start else "") for pfn in frames
        }
        found.append(f"{label}[{_range(index, index + len(frames) - 1)}]=f{number}")
    others: dict[int, str] = {}
    for label, vm in session.machine.world.vms.items():
        for gfn, spte in sorted(vm.stage2.all(), key=lambda entry: (entry[0], entry[1].private)):
            kind = "private" if spte.private else "shared"
            frame = names.get(spte.pfn) or others.setdefault(spte.pfn, f"no page's {len(others)}")
            found.append(f"{label} {gfn:#x} {kind}={frame if spte.pfn >= 0 else 'frozen'}")
    return found


def _arch(session: Session) -> list[str]:
    found: list[str] = []
    hardware = session.machine.memory.hardware
    if "rmp" in hardware:
        found += _page_by_page(session, lambda pfn: str(hardware["rmp"].entry(pfn).state))
    for label, vm in session.machine.world.vms.items():
        if "tdx" in hardware and vm.ident in hardware["tdx"].tds:
            entries = sorted(hardware["tdx"].tds[vm.ident].sept.entries.items())
            found += [f"{label} {gfn:#x}={entry.state}" for (_, gfn), entry in entries if entry.pfn >= 0]
        if "pkvm" in hardware and vm.ident in hardware["pkvm"].vms:
            pages = sorted(hardware["pkvm"].vms[vm.ident].pages.items())
            found += [f"{label} {gfn:#x}={page.state}" for gfn, page in pages]
    return found


_AT_THE_END: Final = {"contents": _contents, "frames": _frames, "arch": _arch}


def stopped(observed: Iterable[Mapping[str, Any]], most: int) -> list[str]:
    """Names of counts that are at their end somewhere: there may have been more."""
    return sorted(
        {
            name
            for one in observed
            for name, value in one.items()
            if isinstance(value, int) and value >= (_MOST_PAGES if name == "cleared" else most)
        }
    )


def by_pattern(names: Iterable[str]) -> frozenset[str]:
    """Names of which nobody knows whether there is such a thing: a lock's class, or a value behind an event's name."""
    known = {*LISTS, *_OTHERS, *vocabulary()}
    return frozenset(name for name in names if name not in known)


def check_names(names: frozenset[str]) -> str:
    """What is wrong with a choice of names, or nothing."""
    known = vocabulary()
    for name in sorted(names):
        if name in (*LISTS, *_OTHERS) or name in known or _LOCK.fullmatch(name):
            continue
        if any(
            name.startswith(f"{event}_") and any(field in cls.__struct_fields__ for field in _TELLING)
            for event, cls in known.items()
        ):
            continue
        close = nearest(name, [*LISTS, *_OTHERS, *known])
        meant = f"did you mean {' or '.join(close)}? Else " if close else ""
        return (
            f"nothing is called {name!r}: {meant}expected the name of an event, cleared, {', '.join(LISTS)}"
        )
    return ""
