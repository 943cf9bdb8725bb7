"""v2 of the series (December 2025). Populate page by page, the lock taken for each; sources must be aligned.

guest-memfd.md 3, 4.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EFAULT, EINTR
from .v1 import V1

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemFile
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task


class V2(V1):
    """One source page is fetched before each short exclusive section."""

    name: ClassVar[str] = "v2"

    def populate_rejects(self, vm: Vm, source: Source | None) -> bool:
        """An unaligned source is refused."""
        return source is not None and source.offset != 0

    def pages_to_clear(self, folio: Folio) -> int:
        """Only page 0: the same while the order is 0, and warned about otherwise."""
        return 1

    def populate_fetches(self, source: Source | None) -> bool:
        """v2 calls GUP whatever the source.

        See guest-memfd.md 3; 4.9 has the condition for v2 as well: guest-memfd.md 3 is followed.
        """
        return True

    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        """Between two pages the lock is free: punches, binds and conversions can interleave."""
        lock = file.inode.invalidate_lock
        ret = 0
        done = 0
        while done < pages:
            if t.signalled():
                ret = EINTR
                break
            content: str | None = None
            if self.populate_fetches(source):
                found = EFAULT if source is None else await self.get_user_pages_fast(t, source, done)
                if isinstance(found, int):
                    ret = found
                    break
                content = found
            await lock.down_write(t)
            ret = await self.kvm_gmem_populate_one(t, vm, slot, file, gfn + done, content)
            await lock.up_write(t)
            if ret:
                break
            done += 1
        return done or ret
