"""Run vectors: build the machine, take the steps in order, compare each with what it is expected to come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import attrs

from ...actors.release import RELEASES
from ...audit.inplace_events import MakeShared
from ...audit.kvm_events import Clear, MakePrivate, MakePrivateRet, Prepare, PrepareRet
from ...engine import bare
from ...engine.engine import Engine
from ...engine.errors import EngineError, ModelError
from ...patches.registry import HUGE, IN_PLACE, PATCHES
from . import ops_files, ops_guest, ops_host, ops_vm
from .registry import OPS
from .results import Got, Mismatch, check
from .rig import Rig, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.release import Release
    from ...engine.strategy import Strategy
    from ...engine.task import Task
    from .vector import Step, Vector

__all__ = ["MAX_STEPS", "Case", "VectorRun", "Verdict", "applicable", "build_case", "version_of"]

#: Steps of a vector at most: one pins the 262,144 pages of a GiB, which takes some millions.
MAX_STEPS: Final = 1 << 24

_MODULES: Final = (ops_files, ops_guest, ops_host, ops_vm)

#: What the vectors call the patch versions and VM types.
_VERSIONS: Final = {
    "baseline": "baseline",
    "v3": "v3",
    "mainline-7.3": "v3",
    "inplace-v8": "inplace",
    "inplace": "inplace",
    "hugepage": "hugepage",
}


class Case(NamedTuple):
    """A vector on one patch version, VM type and release."""

    vector: Vector
    patch: type[Kernel]
    vm_type: str
    release: Release


@attrs.frozen
class Verdict:
    """How a case ended.

    Attributes:
        result: `passed`, `failed` or `unsupported`.
        step: path of the step that decided; empty if none did.
        expected, got: of a failure; `got` is the reason if it is unsupported.
    """

    result: Literal["passed", "failed", "unsupported"]
    step: str = ""
    expected: Any = None
    got: Any = None


def version_of(patch: type[Kernel]) -> str | None:
    """What the vectors call a patch version; a user's own counts as the version that it derives from."""
    for cls in patch.__mro__:
        name = vars(cls).get("name")
        if name in PATCHES or name in IN_PLACE or name in HUGE:
            return _VERSIONS.get(str(name))
    return None


def applicable(vector: Vector, patch: type[Kernel], vm_type: str, release: Release | None = None) -> str:
    """Why the vector says nothing of this version, VM type and release; empty if it does."""
    version = version_of(patch)
    if version not in vector.versions:
        return f"is for {', '.join(vector.versions)}"
    if vm_type.replace("-", "_") not in vector.vm_types:
        return f"is for VM types {', '.join(vector.vm_types)}"
    name = (release or RELEASES[patch.default_release]).name
    number = _number(name)
    if "min" in vector.kernels and number < _number(vector.kernels["min"]):
        return f"is for kernels from {vector.kernels['min']}"
    if "below" in vector.kernels and number >= _number(vector.kernels["below"]):
        return f"is for kernels below {vector.kernels['below']}"
    return ""


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.lstrip("v").split(".") if part.isdigit())


class VectorRun:
    """One run of a case: a `Run` for the explorer.

    Attributes:
        engine: of the run; exploring if a strategy was given.
        rig: the machine.
    """

    def __init__(
        self, case: Case, strategy: Strategy | None, *, rec: Callable[..., Any] | None, max_steps: int
    ) -> None:
        self.case = case
        self.rig = Rig(case.vector, case.patch, case.vm_type, case.release)
        self._rec = rec
        self.engine = Engine(strategy, exploring=True, rec=self._count, max_steps=max_steps)
        self._asked: dict[Task, int] = {}
        setup = Engine(exploring=True, rec=rec, max_steps=max_steps)
        setup.spawn("setup", self.rig.bring_about)
        bare.run(setup)

    def _count(self, task: Task, event: Any) -> None:
        counts = self.rig.counts
        if isinstance(event, Prepare | MakePrivate):
            self._asked[task] = event.gfn
            counts["arch_prepare_called", event.gfn] += 1
        elif isinstance(event, PrepareRet | MakePrivateRet):
            counts["rmp_make_private", self._asked[task]] += event.did
        elif isinstance(event, MakeShared):
            # By frame here; the vectors ask by address.
            for folio, gfn in self._mapped_pages():
                if event.pfn <= folio.pfn < event.pfn + event.pages:
                    counts["arch_make_shared", gfn] += 1
        elif isinstance(event, Clear):
            for inode, slot in self._bound():
                cleared = inode.folios.get(event.index)
                if cleared is not None and cleared.pfn == event.pfn:
                    counts["folio_cleared", slot.base_gfn + event.index - slot.pgoff] += 1
        if self._rec is not None:
            self._rec(task, event)

    def _bound(self) -> Iterator[tuple[GmemInode, Memslot]]:
        """Every slot with a file."""
        for vm in self.rig.vms.values():
            for slot in vm.slots:
                if slot.gmem_file is not None:
                    yield slot.gmem_file.inode, slot

    def _mapped_pages(self) -> Iterator[tuple[Folio, int]]:
        """Every page of a bound file that was looked at, and the gfn that it is seen at."""
        for inode, slot in self._bound():
            for index, folio in inode.folios.items():
                yield folio, slot.base_gfn + index - slot.pgoff

    def run(self) -> None:
        """All steps.

        Raises:
            Mismatch, Unsupported, EngineError: see `verdict`.
        """
        self.engine.spawn("vector", self._steps, self.case.vector.steps)
        bare.run(self.engine)

    def verdict(self) -> Verdict:
        """Run, and say how it ended."""
        try:
            self.run()
        except Mismatch as error:
            return Verdict("failed", error.path, error.expected, error.got)
        except Unsupported as error:
            return Verdict("unsupported", "", None, str(error))
        except ModelError:
            raise
        except EngineError as error:
            return Verdict("failed", "", "an end", str(error))
        return Verdict("passed")

    async def _steps(self, t: Task, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._step(t, step)
            self.rig.others.moved(t)

    async def _step(self, t: Task, step: Step) -> None:
        if step.op == "parallel":
            await self._parallel(t, step)
            return
        operation = OPS.get(step.op)
        if operation is None:
            raise Unsupported(f"step {step.path}: operation {step.op!r}")
        unknown = set(step.args) - operation.args
        if unknown:
            raise Unsupported(f"step {step.path}: argument {', '.join(sorted(unknown))} of {step.op}")
        t.call += 1
        try:
            got = await operation.run(self.rig, t, step)
        except Unsupported as error:
            raise Unsupported(f"step {step.path}: {error}") from None
        check(self.rig, step.path, step.expect, got)

    async def _parallel(self, t: Task, step: Step) -> None:
        """Every branch on a task of its own; the step ends when all have."""
        if step.args:
            raise Unsupported(f"step {step.path}: argument {', '.join(sorted(step.args))} of parallel")
        others = self.rig.others
        others.begin(len(step.branches))
        for number, branch in enumerate(step.branches):
            self.engine.spawn(f"branch{step.path}.{number}", self._branch, branch)
        await others.join(t)
        check(self.rig, step.path, step.expect, Got("ok"))

    async def _branch(self, t: Task, branch: tuple[Step, ...]) -> None:
        await self._steps(t, branch)
        self.rig.others.done(t)


def build_case(
    case: Case,
    strategy: Strategy | None = None,
    *,
    rec: Callable[..., Any] | None = None,
    max_steps: int = MAX_STEPS,
) -> VectorRun:
    """A run of `case`, its setup done.

    Raises:
        Unsupported: the setup asks for something that is not there.
    """
    return VectorRun(case, strategy, rec=rec, max_steps=max_steps)
