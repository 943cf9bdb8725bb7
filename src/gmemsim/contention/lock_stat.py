"""Lock figures in the format of `/proc/lock_stat` (version 0.4, kernel/locking/lockdep_proc.c, CONFIG_LOCK_STAT).

Times are microseconds with two decimals, as there. Below the rows of a class stand up to four contention points: the
functions that waited, with how often. Lockdep counts also who holds the lock at that time (contending points); the
model does not know the holder's function, so those lines are absent, and a function has no address.

Lockdep has no class for a folio lock, which is a bit: its rows are here all the same, marked, and a kernel shows none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .result import LockFigures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lock_book import Site
    from .result import Result

_COLUMNS: Final = (
    "con-bounces", "contentions", "waittime-min", "waittime-max", "waittime-total", "waittime-avg",
    "acq-bounces", "acquisitions", "holdtime-min", "holdtime-max", "holdtime-total", "holdtime-avg",
)  # fmt: skip
_WIDTH: Final = 40 + 1 + 12 * 15
#: LOCKSTAT_POINTS.
_POINTS: Final = 4
#: Names that lockdep gives these classes.
_NAMES: Final = {
    "mmu_lock": "&(kvm)->mmu_lock",
    "slots_lock": "&kvm->slots_lock",
    "slots_arch_lock": "&kvm->slots_arch_lock",
    "kvm_lock": "&kvm->lock",
    "vcpu_mutex": "&vcpu->mutex",
    "invalidate_lock": "mapping.invalidate_lock",
    "i_mmap_rwsem": "&mapping->i_mmap_rwsem",
    "mmap_lock": "&mm->mmap_lock",
    "folio_lock": "folio_lock (model only)",
    "guest.unaccepted_memory_lock": "unaccepted_memory_lock (guest's)",
}


def lock_stat(result: Result) -> str:
    """The whole table of one point; lines end in a newline. Classes with the most contentions first, as there."""
    lines = ["lock_stat version 0.4", "-" * _WIDTH]
    lines.append(f"{'class name':>40}" + "".join(f" {column:>14}" for column in _COLUMNS))
    lines += ["-" * _WIDTH, ""]
    classes = dict.fromkeys(name.rpartition(":")[0] for name in result.locks)
    for name in sorted(classes, key=lambda name: -_contentions(result, name)):
        lines += _class(name, result)
    return "\n".join(lines) + "\n"


def _contentions(result: Result, name: str) -> int:
    return sum(result.lock(f"{name}:{mode}").contentions for mode in "rw")


def _class(name: str, result: Result) -> list[str]:
    shown = _NAMES.get(name, name)
    write, read = result.lock(f"{name}:w"), result.lock(f"{name}:r")
    both = bool(read.acquisitions)
    lines = []
    if write.acquisitions:
        lines.append(_row(f"{shown}-W:" if both else f"{shown}:", write))
    if both:
        lines.append(_row(f"{shown}-R:", read))
    sites = [site for site in result.sites if site.lock == name and site.waits]
    if not sites:
        return lines
    length = len(shown) + 2 * both
    lines.append(" " * max(40 - length, 0) + "-" * length)
    lines += [f"{shown:>40} {count:>14} {'':>29} {function}" for function, count in _points(sites)]
    return [*lines, "", "." * _WIDTH, ""]


def _points(sites: Sequence[Site]) -> list[tuple[str, int]]:
    """Functions that waited, both modes together. Lockdep keeps the first four that it meets; here the busiest."""
    counts: dict[str, int] = {}
    for site in sites:
        counts[site.caller] = counts.get(site.caller, 0) + site.waits
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_POINTS]


def _row(label: str, found: LockFigures) -> str:
    wait = _times(found.contentions, found.wait_min, found.wait_max, found.wait_total)
    hold = _times(found.acquisitions, found.hold_min, found.hold_max, found.hold_total)
    return f"{label:>41}{found.con_bounces:>14} {wait} {found.acq_bounces:>14} {hold}"


def _times(count: int, low: int, high: int, total: int) -> str:
    average = total // count if count else 0
    return f"{count:>14}" + "".join(f" {_us(ns):>14}" for ns in (low, high, total, average))


def _us(ns: int) -> str:
    """`snprint_time`: 5 ns are added for rounding, the third decimal is cut."""
    whole, rest = divmod(ns + 5, 1000)
    return f"{whole}.{rest // 10:02d}"
