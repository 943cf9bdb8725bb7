"""Which lock or object of the kernel a label stands for: told by who has it, and never by how it is spelled.

A lock is a VM's `mmu_lock` because `vm.mmu_lock` is that lock. So a patch may call its locks as it likes, put another
lock in the place of one, or have locks of its own whose names end in the same word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..engine.locks.kinds import stated

if TYPE_CHECKING:
    from ..actors.vm import World

_OF_VM: Final = ("mmu_lock", "slots_lock", "slots_arch_lock", "lock")
_OF_INODE: Final = ("invalidate_lock", "i_mmap_rwsem")
_OF_PROCESS: Final = ("mmap_lock",)


class Role(NamedTuple):
    """What an object is to its owner.

    Attributes:
        kind: name of the attribute that has it (`mmu_lock`, `seq`); of a folio's lock `folio`.
        owner: label of the VM, inode or process; of a folio's lock, the lock's own label. Empty: of nobody known.
        of_inode: the owner is an inode.
    """

    kind: str
    owner: str
    of_inode: bool = False


class Roles:
    """The labels of one run; looks at the world again when it meets a new one."""

    #: Grows as labels are met, but says the same whenever asked: no state.
    __kept__ = True

    def __init__(self, world: World) -> None:
        self._world = world
        self._locks: dict[str, Role] = {}
        self._objects: dict[str, Role] = {}
        self._labels: dict[tuple[str, str], str] = {}
        #: Labels that nobody had, with what there was in the world then.
        self._strange: dict[str, tuple[tuple[str, ...], ...]] = {}

    def lock(self, label: str) -> Role:
        """The lock of that label; one that no object of the kernel has is of the kind that it states, or of its own."""
        found = self._locks.get(label)
        if found is None and self._again(label):
            found = self._locks.get(label)
        return found or Role(stated(label) or label, "")

    def object(self, label: str) -> Role | None:
        """The thing, other than a lock, that steps on that label touch; None for one that no rule speaks of."""
        found = self._objects.get(label)
        return self._objects.get(label) if found is None and self._again(label) else found

    def label(self, kind: str, owner: str, index: int = 0) -> str:
        """Label of the owner's lock of that kind; of a folio's lock, that of the index."""
        label = self._labels[owner, kind]
        return f"{label}[{index}]" if kind == "folio" else label

    def _again(self, label: str) -> bool:
        """Look at the world anew for a label that is not known; whether that may have helped."""
        world = self._world
        if label[-1:] == "]":
            family = self._locks.get(label.rpartition("[")[0])
            if family is not None and family.kind == "folio":
                self._locks[label] = Role("folio", label, True)
                return True
        now = (tuple(world.vms), tuple(world.inodes), tuple(world.processes))
        if self._strange.get(label) == now:
            return False
        self._strange[label] = now
        self._look()
        family = self._locks.get(label.rpartition("[")[0]) if label[-1:] == "]" else None
        if family is not None and family.kind == "folio":
            self._locks[label] = Role("folio", label, True)
        return True

    def _look(self) -> None:
        world = self._world
        for vm in world.vms.values():
            self._take(vm, _OF_VM)
            things = {
                "seq": vm.load_seq.obj,
                "memslots": vm.load_slots.obj,
                "attributes": vm.attr_label,
                "spte": vm.spte_label,
            }
            self._objects |= {obj: Role(kind, vm.label) for kind, obj in things.items()}
        for inode in world.inodes.values():
            self._take(inode, _OF_INODE, of_inode=True)
            self._locks[inode.lock_label] = Role("folio", inode.label, True)
            self._labels[inode.label, "folio"] = inode.lock_label
            self._objects[inode.content_label] = Role("content", inode.label, True)
            self._objects[inode.attributes_label] = Role("attributes", inode.label, True)
        for process in world.processes.values():
            self._take(process, _OF_PROCESS)

    def _take(self, owner: Any, kinds: tuple[str, ...], *, of_inode: bool = False) -> None:
        for kind in kinds:
            label = getattr(owner, kind).label
            self._locks[label] = Role(kind, owner.label, of_inode)
            self._labels[owner.label, kind] = label
