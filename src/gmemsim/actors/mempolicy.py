"""NUMA policy and huge-page advice of host mappings, as far as guest_memfd answers for them.

The policy belongs to the file's index, not to the mapping (`kvm_gmem_set_policy`, `kvm_gmem_get_policy`). All tasks run
on node 0, and every node has memory. Before 6.19 guest_memfd allocated on the task's node whatever the policy of the
mapping was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .errno import EFAULT, EINVAL, ENOENT

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemInode, HostMapping
    from .kernel import Kernel

#: Policies that mbind(2) knows.
_POLICIES: Final = frozenset({"DEFAULT", "BIND", "INTERLEAVE", "PREFERRED", "LOCAL"})


def note_node(self: Kernel, inode: GmemInode, folio: Folio) -> None:
    """A new folio comes from the node that the policy of its index names at that time."""
    node = self._node(inode, folio.index) if self.release.lookup_first else 0
    if node:
        self._nodes[folio.pfn] = node
    else:
        self._nodes.pop(folio.pfn, None)


def _node(self: Kernel, inode: GmemInode, index: int) -> int:
    """`policy_nodemask` for order 0: the first node of a set is the nearest; interleaving goes by index."""
    policy, nodes = inode.policy.get(index, ("DEFAULT", ()))
    if not nodes or policy == "LOCAL":
        return 0
    return sorted(nodes)[index % len(nodes)] if policy == "INTERLEAVE" else min(nodes)


async def page_node(self: Kernel, t: Task, mapping: HostMapping, index: int) -> int:
    """move_pages(2) without nodes, for one page: its node, -EFAULT outside the mapping, -ENOENT if not present."""
    if not mapping.covers(index):
        return EFAULT
    await mapping.process.mmap_lock.down_read(t)
    folio = mapping.mapped.get(index)
    await mapping.process.mmap_lock.up_read(t)
    return ENOENT if folio is None else self._nodes.get(folio.pfn, 0)


async def mbind(
    self: Kernel, t: Task, mapping: HostMapping, start: int, end: int, policy: str, nodes: tuple[int, ...]
) -> int:
    """mbind(2) of indices [start, end): 0, or -EINVAL."""
    if policy not in _POLICIES or (policy == "DEFAULT") != (not nodes):
        return EINVAL
    await mapping.process.mmap_lock.down_write(t)
    shared = mapping.inode.policy
    for index in range(start, end):
        if policy == "DEFAULT":
            shared.pop(index, None)
        else:
            shared[index] = policy, nodes
    await mapping.process.mmap_lock.up_write(t)
    return 0


async def get_mempolicy(
    self: Kernel, t: Task, mapping: HostMapping, index: int
) -> tuple[str, tuple[int, ...]]:
    """get_mempolicy(2) with MPOL_F_ADDR: policy and nodes."""
    await mapping.process.mmap_lock.down_read(t)
    found = mapping.inode.policy.get(index, ("DEFAULT", ()))
    await mapping.process.mmap_lock.up_read(t)
    return found


def madvise_collapse(self: Kernel, mapping: HostMapping) -> int:
    """MADV_COLLAPSE: -EINVAL. Folios of a guest_memfd must not be collapsed; khugepaged skips the file."""
    return EINVAL
