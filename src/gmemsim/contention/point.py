"""One point of a sweep: its parameters, and which of them go together.

A version or VM type that cannot do what a point asks for says so in one line (`PointError`), before anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..actors.release import RELEASES
from ..arch.choices import TdxChoices, TreeOp
from ..arch.cost_file import CostFileError, load_costs
from ..arch.registry import ARCHES
from ..bad_input import BadInput
from ..nearest import hint
from ..patches.registry import load_patch
from .range_locks import POLICIES
from .storms import BACKGROUNDS, STORMS

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from ..arch.base import Arch

#: Folio sizes by the name that a user gives them, in 4 KiB pages.
FOLIOS: Final[dict[str, int]] = {"4K": 1, "2M": 512, "1G": 1 << 18}

#: Operations that take the S-EPT tree lock exclusively, by release of the module (arch.md 2.3).
TDX_MODULES: Final[dict[str, frozenset[TreeOp]]] = {
    "1.0": frozenset({"BLOCK", "AUG", "REMOVE"}),
    "1.5": TdxChoices().exclusive_tree_ops,
}
_MOST_PAGES: Final = 1 << 28
#: Virtual ns, of which so many pages stay below 2^63.
_LONGEST_THINK: Final = 1_000_000_000
_LONGEST_INTERVAL: Final = 3_600_000_000_000
#: Units a ms of one thread: the time between two is in whole ns.
_MOST_LOAD: Final = 10_000


class PointError(BadInput, ValueError):
    """Parameters that make no sense; one line for the user."""


class CannotError(PointError):
    """Each parameter exists, and this version or VM type cannot do what they ask for together."""


@attrs.frozen
class Point:
    """Parameters of one run.

    Attributes:
        pages: folios that the storm works on, over all vCPUs, as many for each: up to a multiple of `vcpus`
            (`first-touch-same`: that each touches).
        folio: size of the file's folios, a key of `FOLIOS`.
        release: the kernel around the patch; empty: the version's own.
        interval_ns: pause of the background thread between two of its operations.
        policy: lock in the place of the invalidate lock.
        seed: 0: all threads begin at once and in lock-step. Else each begins at a moment of its own within `spread_ns`
            and pauses before each unit of work, exponentially distributed with mean `jitter_ns`; the pause is not
            part of a latency. Drawn from the seed and the thread's number, whatever the version.
        warmup: percent of the storm that is cut (`steady`).
        other_lines: charge the lines of f_count and mmu_lock too (`lines`).
        costs: the cost table: `generic`, `full`, a machine, or a file (`arch/cost_file.py`).
        think_ns: closed load: time of its own that each thread takes before each unit, so of the guest's between two
            faults; in lock-step exactly that, else exponentially distributed with that mean.
        load: open load: units that are offered per virtual ms over all threads, whether or not the ones before are
            done; a latency begins when its unit was due. In lock-step those of each thread are evenly spaced, and all
            threads' come at once; else a Poisson stream. 0: closed.
        tdx_module: 1.0: AUG, BLOCK and REMOVE take the S-EPT tree lock exclusively; 1.5: shared, but REMOVE's.
        sockets: of the machine that the vCPUs are spread over in blocks; only a full cost table knows the distance.
    """

    patch: str = "v3"
    arch: str = "snp"
    storm: str = "refault"
    background: str = "none"
    vcpus: int = 1
    pages: int = 512
    folio: str = "4K"
    release: str = ""
    interval_ns: int = 20_000
    policy: str = "rwsem"
    other_lines: bool = False
    seed: int = 0
    jitter_ns: int = 200
    spread_ns: int = 20_000
    warmup: int = 0
    costs: str = "generic"
    sockets: int = 1
    think_ns: int = 0
    load: int = 0
    tdx_module: str = "1.5"

    @property
    def label(self) -> str:
        """What is compared: the version, and its lock where that is not the kernel's."""
        return self.patch if self.policy == "rwsem" else f"{self.patch} {self.policy}"

    @property
    def setting(self) -> tuple[str, ...]:
        """What points that are compared have in common, for people."""
        return tuple(
            filter(
                None,
                (
                    self.arch,
                    self.storm,
                    "" if self.background == "none" else f"background {self.background}",
                    "" if self.folio == "4K" else f"folios of {self.folio}",
                    f"kernel {self.release}" if self.release else "",
                    "f_count and mmu_lock lines charged" if self.other_lines else "",
                    f"warm-up {self.warmup}% cut" if self.warmup else "",
                    f"costs {self.costs}" if self.costs != "generic" else "",
                    f"{self.sockets} sockets" if self.sockets > 1 else "",
                    f"think time {self.think_ns} ns" if self.think_ns else "",
                    f"{self.load} offered per ms" if self.load else "",
                    f"TDX module {self.tdx_module}"
                    if self.tdx_module != "1.5" and self.arch == "tdx"
                    else "",
                ),
            )
        )

    @property
    def folio_pages(self) -> int:
        """4 KiB pages of a folio."""
        return FOLIOS[self.folio]


def common_release(patches: list[str]) -> str:
    """The one kernel release around all of these versions: the newest that one of them belongs to.

    Raises:
        PatchError: no such patch.
    """
    order = list(RELEASES)
    return max((load_patch(patch).default_release for patch in patches), key=order.index)


def check(point: Point) -> None:
    """Refuse what cannot be run.

    Raises:
        PointError: with what was expected.
        PatchError: no such patch.
    """
    patch = load_patch(point.patch)
    for what, value, known in (
        ("arch", point.arch, ARCHES),
        ("storm", point.storm, STORMS),
        ("background", point.background, BACKGROUNDS),
        ("lock", point.policy, POLICIES),
        ("folio", point.folio, FOLIOS),
        ("release", point.release or "7.2", RELEASES),
    ):
        if value not in known:
            raise PointError(f"{what} {value!r}: {hint(value, known)}")
    if not 1 <= point.vcpus <= 1024:
        raise PointError(f"vcpus {point.vcpus}: expected 1 to 1024")
    try:
        full = load_costs(point.costs).full
    except CostFileError as error:
        raise PointError(str(error)) from None
    if point.think_ns < 0 or point.load < 0:
        raise PointError("think time and load must not be negative")
    if point.think_ns > _LONGEST_THINK or point.interval_ns > _LONGEST_INTERVAL:
        raise PointError("expected a think time of at most a second, and an interval of at most an hour")
    if point.load > _MOST_LOAD * point.vcpus:
        raise PointError(
            f"load {point.load}: expected at most {_MOST_LOAD:,} a ms and thread, one every 100 ns"
        )
    if point.think_ns and point.load:
        raise PointError("think time is of a closed load: expected it or an offered load, not both")
    if point.tdx_module not in TDX_MODULES:
        raise PointError(f"TDX module {point.tdx_module!r}: expected one of {', '.join(TDX_MODULES)}")
    if not 1 <= point.sockets <= 8:
        raise PointError(f"sockets {point.sockets}: expected 1 to 8")
    if point.sockets > 1 and not full:
        raise PointError(
            f"costs {point.costs} know no distance of sockets; expected full, or a machine as milan"
        )
    if point.other_lines and full:
        raise PointError(f"other lines: costs {point.costs} charges them already")
    if point.pages < 1 or point.interval_ns < 1:
        raise PointError("pages and interval must be positive")
    if not 0 <= point.warmup <= 90:
        raise PointError(f"warmup {point.warmup}: expected 0 to 90 percent")
    if point.seed < 0 or point.jitter_ns < 0 or point.spread_ns < 0:
        raise PointError("seed, jitter and spread must not be negative")
    if point.pages * point.folio_pages > _MOST_PAGES:
        raise PointError(f"pages {point.pages} of {point.folio}: more than 1 TiB")
    _fits(point, patch, ARCHES[point.arch])


def _fits(point: Point, patch: type[Kernel], arch: type[Arch]) -> None:
    """What this version and this VM type can do.

    Raises:
        CannotError: with the reason.
    """
    storm = STORMS[point.storm]
    if point.folio != "4K" and not patch.huge_pages:
        raise CannotError(f"patch {point.patch} has no folios of {point.folio}: only 4K")
    if storm.same and point.folio != "4K" and not arch.has_private_memory and point.vcpus > 1:
        # filemap_create_folio's split waits for the reference of a fault that sleeps on the folio's lock.
        raise CannotError(
            f"arch {point.arch}: two first touches of one shared huge folio deadlock on {point.patch} "
            "(`gmemsim explore` shows it), so there is no storm of them"
        )
    if (storm.converts or point.background == "convert") and not arch.has_private_memory:
        raise CannotError(
            f"arch {point.arch} has no private memory, and {point.storm}/{point.background} converts"
        )
    if storm.accepts and getattr(arch, "guest_accept", None) is None:
        raise CannotError(f"arch {point.arch}: its guest accepts nothing, and {point.storm} is about that")
    if storm.launches and not arch.needs_launch:
        raise CannotError(f"arch {point.arch} is not launched page by page, and {point.storm} is about that")
    if storm.launches and point.folio != "4K":
        raise CannotError(f"{point.storm} populates single pages: folio 4K only")
    if storm.launches and point.background != "none":
        raise CannotError(f"{point.storm} is before the guest runs: background none only")
