"""NUMA policy and huge-page advice of host mappings, as far as guest_memfd answers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .errno import EINVAL
from .gmem_user_fault import GmemUserFault

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import HostMapping

__all__ = ["Mempolicy"]

#: Policies that mbind(2) knows.
_POLICIES: Final = frozenset({"DEFAULT", "BIND", "INTERLEAVE", "PREFERRED", "LOCAL"})


class Mempolicy(GmemUserFault):
    """`kvm_gmem_set_policy`, `kvm_gmem_get_policy`: the policy belongs to the file's index, not to the mapping.

    Where frames come from is not modelled: one node serves all.
    """

    async def mbind(
        self, t: Task, mapping: HostMapping, start: int, end: int, policy: str, nodes: tuple[int, ...]
    ) -> int:
        """mbind(2) of indices [start, end): 0, or -EINVAL."""
        if policy not in _POLICIES or (policy == "DEFAULT") != (not nodes):
            return EINVAL
        await mapping.process.mmap_lock.down_write(t)
        shared = self._shared_policy(mapping)
        for index in range(start, end):
            if policy == "DEFAULT":
                shared.pop(index, None)
            else:
                shared[index] = policy, nodes
        await mapping.process.mmap_lock.up_write(t)
        return 0

    async def get_mempolicy(self, t: Task, mapping: HostMapping, index: int) -> tuple[str, tuple[int, ...]]:
        """get_mempolicy(2) with MPOL_F_ADDR: policy and nodes."""
        await mapping.process.mmap_lock.down_read(t)
        found = self._shared_policy(mapping).get(index, ("DEFAULT", ()))
        await mapping.process.mmap_lock.up_read(t)
        return found

    def madvise_collapse(self, mapping: HostMapping) -> int:
        """MADV_COLLAPSE: -EINVAL. Folios of a guest_memfd must not be collapsed; khugepaged skips the file."""
        return EINVAL

    def _shared_policy(self, mapping: HostMapping) -> dict[int, tuple[str, tuple[int, ...]]]:
        policies: dict[str, dict[int, tuple[str, tuple[int, ...]]]]
        policies = self.__dict__.setdefault("_policies", {})
        return policies.setdefault(mapping.inode.label, {})
