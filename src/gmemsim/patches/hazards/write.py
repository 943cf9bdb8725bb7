# mypy: disable-error-code="misc,valid-type"
"""write(2) as a way to fill guest memory (Nikita Kalyazin, v5 and v6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.errno import ENOSPC
from ...engine.op import Op
from .entry import Case, Hazard

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task


def write_populates(parent: type[Kernel]) -> type[Kernel]:
    """write(2) fills pages that nobody has touched, and answers -ENOSPC for one that is uptodate.

    Where faults take the invalidate lock, so does the write (our choice: the series was written before them).
    """

    class WritePopulates(parent):
        write_tests_unlocked = False

        async def kvm_gmem_write_pages(
            self, t: Task, inode: GmemInode, start: int, contents: tuple[str, ...]
        ) -> int:
            for done, content in enumerate(contents):
                ret = await self._write_folio(t, inode, start + done, content)
                if ret:
                    return done or ret
            return len(contents)

        async def _write_folio(self, t: Task, inode: GmemInode, index: int, content: str) -> int:
            early = None
            if self.write_tests_unlocked:
                if t.traps:
                    await t.point(Op("load", inode.label, index, index + 1, "r"))
                present = inode.folios.get(index)
                early = present is not None and present.uptodate
            folio = await self.kvm_gmem_get_folio(t, inode, index)
            if isinstance(folio, int):
                return folio
            ret = ENOSPC if (folio.uptodate if early is None else early) else 0
            if ret == 0:
                if t.traps:
                    await t.point(Op("rmw", inode.content_label, index, index + 1))
                self.inode_vm(inode).arch.host_write(t, folio.pfn, content)
                if not folio.uptodate:
                    # The copy stands for the clearing, so no event says "uptodate": the oracles read the flag.
                    if t.traps:
                        await t.point(Op("store", folio.uptodate_label, index, index + 1))
                    folio.uptodate = True
            await self.folio_unlock(t, folio)
            await self.folio_put(t, inode, folio)
            return ret

    class WriteLocks(WritePopulates):
        async def _write_folio(self, t: Task, inode: GmemInode, index: int, content: str) -> int:
            await inode.invalidate_lock.down_read(t)
            ret = await super()._write_folio(t, inode, index, content)
            await inode.invalidate_lock.up_read(t)
            return ret

    return WriteLocks if parent.in_place else WritePopulates


def write_tests_unlocked(parent: type[Kernel]) -> type[Kernel]:
    """write_begin looks at the flag before it has the folio lock."""

    class WriteTestsUnlocked(write_populates(parent)):
        write_tests_unlocked = True

    return WriteTestsUnlocked


SEEDS = {"write-populates": write_populates, "write-tests-unlocked": write_tests_unlocked}


HAZARDS = (
    Hazard(
        name="12",
        title="write(2) as a way to fill guest memory",
        question="v5 and v6 of the series reject pages that are uptodate with -ENOSPC. What if write_begin looks at "
        "the flag before it has the folio lock?",
        cases=(
            Case(
                says="as it is: -EINVAL",
                scenario="zoo-file_write",
                vm_types=("default",),
            ),
            Case(
                says="as proposed, the flag read under the folio lock",
                seed="write-populates",
                scenario="zoo-file_write",
                vm_types=("default",),
                counts={"pages written": "operation:file_write=ok"},
            ),
            Case(
                says="the flag read before the lock is taken",
                seed="write-tests-unlocked",
                scenario="zoo-file_write",
                vm_types=("default",),
                violated={"*": "unexpected_outcome"},
            ),
        ),
        answer="Under the folio lock the write never lands on a page that the guest has; before it, it overwrites "
        "what a vCPU stored between look and lock.",
    ),
)
