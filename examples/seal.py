"""A made-up patch with a call, an event and a rule of its own: pages of a file can be sealed against holes.

    gmemsim explore examples/seal.toml --patch examples/seal.py:SealEarly --oracle examples/seal.py:Sealed

`SealEarly` looks at the seal before it takes the invalidate lock, and a seal that comes in between is broken;
`SealLate` looks under the lock. What each part is for is told in docs/extend.md.
"""

from gmemsim.audit.kvm_events import PageCacheDelete
from gmemsim.engine.op import Op as Access
from gmemsim.extend import Event, FileRange, Oracle, Rule, after, from_errno, operation, track
from gmemsim.patches.v3 import V3

EPERM = -1


class SealPages(Event, frozen=True, gc=False):
    """Pages [start, end) of a file are sealed. In the log it is `seal_pages`."""

    file: str
    start: int
    end: int


class Seals(V3):
    """What both versions of the patch have: the new call, and where the seals are."""

    def __init__(self, *args):
        super().__init__(*args)
        # A run begins with a new kernel, so what a run changes hangs on it.
        self.seals = set()

    async def kvm_gmem_seal(self, t, inode, start, end):
        """The new ioctl: 0. Under the invalidate lock, as all that changes the file."""
        await inode.invalidate_lock.down_write(t)
        # The trap before a step that others could see says what the step writes.
        await t.point(Access("store", f"{inode.label}.seals", start, end))
        self.seals.update((inode.label, index) for index in range(start, end))
        if t.rec is not None:
            t.rec(t, SealPages(inode.label, start, end))
        await inode.invalidate_lock.up_write(t)
        return 0

    async def sealed(self, t, inode, start, end):
        """Whether a page of [start, end) is sealed."""
        await t.point(Access("load", f"{inode.label}.seals", start, end, "r"))
        return any((inode.label, index) in self.seals for index in range(start, end))


class SealEarly(Seals):
    """Looks before it locks."""

    async def kvm_gmem_punch_hole(self, t, inode, start, end):
        """-EPERM if a page is sealed, else the hole of v3."""
        if await self.sealed(t, inode, start, end):
            return EPERM
        return await super().kvm_gmem_punch_hole(t, inode, start, end)


class SealLate(Seals):
    """Looks under the lock."""

    async def kvm_gmem_punch_hole(self, t, inode, start, end):
        """The hole of v3 with the look behind down_write."""
        await inode.invalidate_lock.down_write(t)
        ret = EPERM if await self.sealed(t, inode, start, end) else 0
        if not ret:
            await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
            await self.truncate_inode_pages_range(t, inode, start, end)
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await inode.invalidate_lock.up_write(t)
        return ret


@operation
class Seal(FileRange, frozen=True, kw_only=True):
    """`{ op = "seal", file = "gmem0", start = 0, count = 1 }`"""

    async def run(self, thread, t, step, lo, hi):
        """Called by the thread of the scenario; what it returns is held against the operation's `expect`."""
        file = thread.machine.files[step.file.id]
        return from_errno(await thread.kernel.kvm_gmem_seal(t, file.inode, lo, hi))


class Sealed(Oracle):
    """What the patch promises, as a rule."""

    rules = (
        Rule("sealed", says="no page of a sealed range leaves the page cache", source="examples/seal.py"),
    )

    def __init__(self, oracles):
        super().__init__(oracles)
        self.pages = set()

    @track(SealPages)
    def seal(self, task, event):
        """Bookkeeping: runs at each of these events, and judges nothing."""
        self.pages.update(range(event.start, event.end))

    @after("sealed", PageCacheDelete)
    def delete(self, task, event):
        """The check."""
        if event.index in self.pages:
            self.fail("sealed", f"page {event.index} left the page cache, and is sealed", task, event)
