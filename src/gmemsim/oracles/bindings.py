"""Slots and files: pointers (I11, I14), disjoint and true bindings (I12), changed under a lock (I13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.events import Lock, Unlock
from ..audit.kvm_events import Bind, SlotPublish
from .watch import Shared, Subject, at_rest, before, track

if TYPE_CHECKING:
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..audit.base import Event
    from ..engine.task import Task

Shape = tuple[tuple[int, int, "Memslot"], ...]


def shape(file: GmemFile) -> Shape:
    """What is bound where, for comparison."""
    return tuple((slot.bound_start, slot.bound_end, slot) for _, slot in sorted(file.bindings.items()))


class Bindings(Subject):
    """Bindings of every file, and the pointers of every slot."""

    about = "bindings"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        #: Bindings as they were when the invalidate lock was last held exclusively.
        self.settled: dict[GmemFile, Shape] = {
            file: shape(file) for inode in self.world.inodes.values() for file in inode.files
        }

    # -- under which lock (I13) ------------------------------------------------------------------

    def _inode(self, event: Lock | Unlock) -> GmemInode | None:
        if event.mode != "w":
            return None
        kind, owner = self.ledger.kind(event.lock)
        return self.world.inodes.get(owner) if kind == "invalidate_lock" else None

    @before("I13", Lock, locks=["invalidate_lock"])
    def unchanged_since(self, t: Task, event: Lock) -> None:
        """Nobody changed bindings since the last exclusive section (of a dying file: under slots_lock)."""
        inode = self._inode(event)
        if inode is not None:
            self._compare(inode, t, event)

    def _compare(self, inode: GmemInode, t: Task | None, event: Event | None) -> None:
        for file in inode.files:
            if file.count.value and shape(file) != self.settled.get(file, ()):
                self.fail(
                    "I13",
                    f"bindings of {file.label} changed without its invalidate lock",
                    t,
                    event,
                    file=file.label,
                )

    @track(Unlock, locks=["invalidate_lock"])
    def settle(self, t: Task, event: Unlock) -> None:
        """The end of an exclusive section: this is what others may rely on."""
        inode = self._inode(event)
        if inode is not None:
            for file in inode.files:
                self.settled[file] = shape(file)

    # -- what a bind leaves behind ---------------------------------------------------------------

    @before("I13", Bind)
    def bound_under_lock(self, t: Task, event: Bind) -> None:
        """What the bind stored was stored under the lock."""
        file = self.ledger.file_of(event.file)
        if file is not None and event.ret == 0:
            self._compare(file.inode, t, event)

    @before("I12", Bind)
    def disjoint(self, t: Task, event: Bind) -> None:
        """Bindings of a file do not overlap, and each is as long as its slot."""
        file = self.ledger.file_of(event.file)
        if file is not None and event.ret == 0:
            self._disjoint(file, t, event)

    def _disjoint(self, file: GmemFile, t: Task | None, event: Event | None) -> None:
        end = 0
        for start, stop, slot in sorted(shape(file), key=lambda bound: (bound[0], bound[1])):
            if start < end:
                self.fail(
                    "I12", f"two slots are bound at index {start} of {file.label}", t, event, file=file.label
                )
            if (start, stop) != (slot.pgoff, slot.pgoff + slot.pages):
                self.fail(
                    "I12",
                    f"slot {slot.ident} is bound at [{start}, {stop}) of {file.label}, not at its range",
                    t,
                    event,
                    file=file.label,
                    pgoff=slot.pgoff,
                    pages=slot.pages,
                )
            end = max(end, stop)

    @before("I14", SlotPublish)
    def own_vm(self, t: Task, event: SlotPublish) -> None:
        """A slot uses a file of its own VM."""
        for vm in self.world.vms.values():
            if f"{vm.label}.slots_lock" not in self.ledger.of(t).held:
                continue
            for slot in vm.slots:
                if slot.gmem_file is not None and slot.gmem_file.vm is not vm:
                    self.fail(
                        "I14",
                        f"slot {slot.ident} of {vm.label} uses {slot.gmem_file.label}",
                        t,
                        event,
                        file=slot.gmem_file.label,
                    )

    # -- when slots_lock goes ----------------------------------------------------------------------

    def _slots_unlocked(self, event: Unlock) -> Vm | None:
        kind, owner = self.ledger.kind(event.lock)
        return self.vm(owner) if kind == "slots_lock" else None

    @before("I11", Unlock, locks=["slots_lock"])
    def no_pointer_to_released(self, t: Task, event: Unlock) -> None:
        """No slot points to a file that release took off the inode's list."""
        vm = self._slots_unlocked(event)
        if vm is not None:
            self._pointers(vm, t, event)

    def _pointers(self, vm: Vm, t: Task | None, event: Event | None) -> None:
        for slot in vm.slots:
            file = slot.gmem_file
            if file is not None and (file.released or file not in file.inode.files):
                self.fail(
                    "I11",
                    f"slot {slot.ident} of {vm.label} points to {file.label}, which is released",
                    t,
                    event,
                    slot=slot.ident,
                    file=file.label,
                )

    @before("I12", Unlock, locks=["slots_lock"])
    def bound_slots_exist(self, t: Task, event: Unlock) -> None:
        """Every binding is a slot that is published, and the slot points back."""
        vm = self._slots_unlocked(event)
        if vm is not None:
            self._bound(vm, t, event)

    def _bound(self, vm: Vm, t: Task | None, event: Event | None) -> None:
        published = [slot for other in self.world.vms.values() for slot in other.slots]
        for file in vm.files.values():
            for slot in file.bindings.values():
                if slot.gmem_file is not file and not file.count.value:
                    # The last close has let go of it (kvm_gmem_release clears slot->gmem.file); what is left in
                    # gmem->bindings is looked up by nobody until xa_destroy.
                    continue
                if slot not in published:
                    self.fail(
                        "I12",
                        f"{file.label} is bound to slot {slot.ident}, which is deleted",
                        t,
                        event,
                        slot=slot.ident,
                        file=file.label,
                    )
                elif slot.gmem_file is not file:
                    self.fail(
                        "I12",
                        f"{file.label} is bound to slot {slot.ident}, which does not point to it",
                        t,
                        event,
                        slot=slot.ident,
                        file=file.label,
                    )
        for slot in vm.slots:
            file_ = slot.gmem_file
            if file_ is None or slot.invalid or file_.released:
                continue
            if file_.bindings.get(slot.pgoff) is not slot:
                self.fail(
                    "I12",
                    f"slot {slot.ident} of {vm.label} points to {file_.label}, which is not bound to it",
                    t,
                    event,
                    slot=slot.ident,
                    file=file_.label,
                )

    # -- rest ----------------------------------------------------------------------------------------

    @at_rest("I12")
    def true_at_rest(self, full: bool) -> None:
        """The same for every VM when nothing is in flight."""
        for vm in self.world.vms.values():
            for file in vm.files.values():
                self._disjoint(file, None, None)
            self._bound(vm, None, None)

    @at_rest("I11")
    def pointers_at_rest(self, full: bool) -> None:
        """No slot points to a released file."""
        for vm in self.world.vms.values():
            self._pointers(vm, None, None)

    @at_rest("I13")
    def locked_at_rest(self, full: bool) -> None:
        """Bindings are those of the last exclusive section."""
        for inode in self.world.inodes.values():
            self._compare(inode, None, None)

    # -- references of files (I55) -----------------------------------------------------------------

    @at_rest("I55")
    def nobody_keeps_a_file(self, full: bool) -> None:
        """What a system call or a fault took it has given back; a process has one descriptor of a file at most."""
        descriptors = max(len(self.world.processes), 1)
        for inode in self.world.inodes.values():
            for file in inode.files:
                mappings = sum(mapping.file is file for mapping in inode.mappings)
                if file.count.value > descriptors + mappings:
                    self.fail(
                        "I55",
                        f"{file.label} has {file.count.value} references at rest: "
                        f"more than {descriptors} of descriptors and {mappings} of mappings",
                        None,
                        None,
                        file=file.label,
                        count=file.count.value,
                    )
