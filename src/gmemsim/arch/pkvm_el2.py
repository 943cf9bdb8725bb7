"""Hypercalls of pKVM's EL2 that move a page between host and guest (arch.md 4.1).

A projection where guest_memfd is concerned; see `pkvm`. Each takes its locks in the order host, hyp, guest, checks
everything, and only then writes; contenders spin, nothing is tried and given up. Single pages only: ranges, and the
hypercall that splits a guest's block, are a series of 2026 and not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.op import Op
from .memory import FRAMES, ZERO
from .pkvm_state import HOST_PAGE, HYP, El2State, GuestPage, HostPage, PageState

if TYPE_CHECKING:
    from ..engine.task import Task
    from .pkvm_state import El2Vm

EPERM: Final = -1
ENOENT: Final = -2
EAGAIN: Final = -11
ENOMEM: Final = -12
EINVAL: Final = -22
EHWPOISON: Final = -133


class El2(El2State):
    """The hypervisor of a machine."""

    # -- host and guest: pages of a protected VM ------------------------------------------------

    async def host_donate_guest(self, t: Task, vm: El2Vm | None, gfn: int, pfn: int) -> int:
        """`__pkvm_host_donate_guest`: the host gives a page away.

        Returns:
            0; -EINVAL (`vm` None: no vCPU is loaded; or a VM that is not protected); -EAGAIN (the guest has it as its
            own already); -EPERM (wrong state of either side); -ENOMEM (the vCPU's memcache is short).
        """
        if vm is None or not vm.protected:
            return self.done(t, "HOST_DONATE_GUEST", pfn, EINVAL)
        await self.lock(t, vm)
        ret = self.check_donate(vm, gfn, pfn)
        if not ret and t.fault("pkvm_memcache"):
            ret = ENOMEM
        if not ret:
            if self.page(pfn).owner >= 0:
                self.blame(t, "PKVM_DOUBLE_DONATE", pfn)
            await self.write(
                t,
                pfn,
                HostPage(PageState.NOPAGE, vm.ident, gfn),
                vm,
                gfn,
                GuestPage(PageState.OWNED, pfn),
            )
        await self.unlock(t, vm)
        return self.done(t, "HOST_DONATE_GUEST", pfn, ret)

    def check_donate(self, vm: El2Vm, gfn: int, pfn: int) -> int:
        """All that is looked at before the first write."""
        host, guest = self.page(pfn), vm.pages.get(gfn)
        if guest is not None and guest.pfn == pfn:
            if (guest.state, host.state) == (PageState.OWNED, PageState.NOPAGE):
                return EAGAIN
            shared = (PageState.SHARED_OWNED, PageState.SHARED_BORROWED)
            if self.choices.skip_shared and (guest.state, host.state) == shared:
                return EAGAIN
        return 0 if host.state == PageState.OWNED and guest is None else EPERM

    async def guest_share_host(self, t: Task, vm: El2Vm, gfn: int) -> int:
        """`__pkvm_guest_share_host`: the guest's hypercall on the way to shared memory.

        Returns:
            0; -ENOENT (nothing mapped: EL2 fakes a data abort, and the host faults the page in); -EHWPOISON; -EPERM
            (not a page that the guest owns and has not shared). -E2BIG speaks of blocks, which there are none of.
        """
        return await self._guest_changes(t, vm, gfn, share=True)

    async def guest_unshare_host(self, t: Task, vm: El2Vm, gfn: int) -> int:
        """`__pkvm_guest_unshare_host`: the way back; the host loses the page at once, mapped or not. Same errors."""
        return await self._guest_changes(t, vm, gfn, share=False)

    async def _guest_changes(self, t: Task, vm: El2Vm, gfn: int, share: bool) -> int:
        name = "GUEST_SHARE_HOST" if share else "GUEST_UNSHARE_HOST"
        await self.lock(t, vm)
        guest = vm.pages.get(gfn)
        pfn = -1 if guest is None else guest.pfn
        if guest is None:
            ret = ENOENT
        elif guest.state == PageState.POISON:
            ret = EHWPOISON
        else:
            before = (guest.state, self.page(pfn).state)
            owned = (PageState.OWNED, PageState.NOPAGE)
            shared = (PageState.SHARED_OWNED, PageState.SHARED_BORROWED)
            ret = 0 if before == (owned if share else shared) else EPERM
            if not ret:
                own, theirs = shared if share else owned
                await self.write(t, pfn, HostPage(theirs, vm.ident, gfn), vm, gfn, GuestPage(own, pfn))
        await self.unlock(t, vm)
        return self.done(t, name, pfn, ret)

    # -- host and guest: pages that stay the host's ----------------------------------------------

    async def host_share_guest(self, t: Task, vm: El2Vm, gfn: int, pfn: int) -> int:
        """`__pkvm_host_share_guest`: the host lends a page. -EPERM: shared with the hypervisor, or a wrong state."""
        await self.lock(t, vm)
        ret = self.check_share(vm, gfn, pfn)
        if not ret:
            if t.traps:
                await t.point(Op("rmw", FRAMES, pfn, pfn + 1))
            self.lend(t, vm, gfn, pfn)
        await self.unlock(t, vm)
        return self.done(t, "HOST_SHARE_GUEST", pfn, ret)

    def check_share(self, vm: El2Vm, gfn: int, pfn: int) -> int:
        """0 or -EPERM. SHARED_OWNED that no guest borrows is shared with the hypervisor or with firmware."""
        host = self.page(pfn)
        mine = host.state == PageState.OWNED or (host.state == PageState.SHARED_OWNED and host.borrowers)
        return 0 if mine and gfn not in vm.pages else EPERM

    def lend(self, t: Task, vm: El2Vm, gfn: int, pfn: int) -> None:
        """The entries of `host_share_guest`."""
        borrowers = (*self.page(pfn).borrowers, (vm.ident, gfn))
        host = HostPage(PageState.SHARED_OWNED, borrowers=borrowers)
        self.store(t, pfn, host, vm, gfn, GuestPage(PageState.SHARED_BORROWED, pfn))

    async def host_unshare_guest(self, t: Task, vm: El2Vm, gfn: int) -> int:
        """`__pkvm_host_unshare_guest`: the reverse. 0; -ENOENT; -EPERM (not borrowed)."""
        await self.lock(t, vm)
        guest = vm.pages.get(gfn)
        pfn = -1 if guest is None else guest.pfn
        if guest is None:
            ret = ENOENT
        else:
            ret = 0 if guest.state == PageState.SHARED_BORROWED else EPERM
            if not ret:
                left = tuple(one for one in self.page(pfn).borrowers if one != (vm.ident, gfn))
                host = HostPage(PageState.SHARED_OWNED, borrowers=left) if left else HOST_PAGE
                await self.write(t, pfn, host, vm, gfn)
        await self.unlock(t, vm)
        return self.done(t, "HOST_UNSHARE_GUEST", pfn, ret)

    # -- the host takes pages back ---------------------------------------------------------------

    async def host_reclaim_page_guest(self, t: Task, vm: El2Vm, gfn: int) -> int:
        """`__pkvm_host_reclaim_page_guest`: a page of a VM that dies goes back to the host, zeroed.

        Returns:
            0; -EINVAL (teardown has not started, unless `reclaim_alive`; the errno is not in the spec); -ENOENT;
            -EPERM (a page that the guest does not own).
        """
        await self.lock(t, vm)
        guest = vm.pages.get(gfn)
        pfn = -1 if guest is None else guest.pfn
        if not (vm.dying or self.choices.reclaim_alive):
            ret = EINVAL
        elif guest is None:
            ret = ENOENT
        elif guest.state not in (PageState.OWNED, PageState.SHARED_OWNED):
            ret = EPERM
        else:
            ret = 0
            await self.write(t, pfn, HOST_PAGE, vm, gfn)
            self.scrub(t, pfn)
        await self.unlock(t, vm)
        return self.done(t, "HOST_RECLAIM_PAGE_GUEST", pfn, ret)

    def scrub(self, t: Task, pfn: int) -> None:
        """`hyp_poison_page`: zero a page before the host can see it, in the step that returns it."""
        self.memory.write(pfn, ZERO)
        self.secret.discard(pfn)

    async def host_force_reclaim(self, t: Task, pfn: int) -> int:
        """The host kernel touched a page and asks for it: zeroed, and poison for the guest that had it.

        Returns:
            0; -EAGAIN (the state moved on, or the VM is gone: touch it again); -EPERM (not a guest's).
        """
        await self.vm_table_lock.lock(t)
        await self.host_lock.lock(t)
        host = self.page(pfn)
        if host.state != PageState.NOPAGE:
            ret = EAGAIN
        elif host.owner < 0:
            ret = EPERM
        else:
            ret = await self._take_by_force(t, pfn, host)
        await self.host_lock.unlock(t)
        await self.vm_table_lock.unlock(t)
        return self.done(t, "HOST_FORCE_RECLAIM", pfn, ret)

    async def _take_by_force(self, t: Task, pfn: int, host: HostPage) -> int:
        vm = self.vms.get(host.owner)
        if vm is None:
            return EAGAIN
        await vm.lock.lock(t)
        guest = vm.pages.get(host.gfn)
        ret = 0 if guest == GuestPage(PageState.OWNED, pfn) else EAGAIN
        if not ret:
            await self.write(t, pfn, HOST_PAGE, vm, host.gfn, GuestPage(PageState.POISON, pfn))
            self.scrub(t, pfn)
        await vm.lock.unlock(t)
        return ret

    # -- host and hypervisor -----------------------------------------------------------------------

    async def host_donate_hyp(self, t: Task, pfn: int) -> int:
        """A page for EL2's own tables (the memcache is made of such): 0 or -EPERM."""
        await self.lock(t, hyp=True)
        ret = 0 if self.page(pfn).state == PageState.OWNED else EPERM
        if not ret:
            await self.write(t, pfn, HostPage(PageState.NOPAGE, HYP))
        await self.unlock(t, hyp=True)
        return self.done(t, "HOST_DONATE_HYP", pfn, ret)
