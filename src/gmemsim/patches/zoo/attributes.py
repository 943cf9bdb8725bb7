# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of the attribute map, on the in-place versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .entry import bug

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task


def _with_holes(parent: type[Kernel], *, missing_is_shared: bool) -> type[Kernel]:
    """Stores to private lose a page now and then: the map that KVM reads has a hole, ours has what was meant."""

    class WithHoles(parent):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._holes: set[tuple[str, int]] = set()

        async def kvm_gmem_store_attributes(
            self, t: Task, inode: GmemInode, start: int, end: int, private: bool
        ) -> None:
            await super().kvm_gmem_store_attributes(t, inode, start, end, private)
            self._holes.difference_update((inode.label, index) for index in range(start, end))
            if private and t.draw("zoo.store", 2):
                self._holes.add((inode.label, start))

        def gmem_attr_missing(self, inode: GmemInode) -> bool:
            return not inode.init_shared and not missing_is_shared

        def gmem_attr_value(self, inode: GmemInode, index: int) -> bool:
            if (inode.label, index) in self._holes:
                return self.gmem_attr_missing(inode)
            value: bool = super().gmem_attr_value(inode, index)
            return value

    name = "MissingAttrMeansShared" if missing_is_shared else "MissingAttrMeansInit"
    WithHoles.__name__ = WithHoles.__qualname__ = name
    return WithHoles


def missing_attr_means_shared(parent: type[Kernel]) -> type[Kernel]:
    """An index without an entry counts as shared (v8 01/46)."""
    return _with_holes(parent, missing_is_shared=True)


def missing_attr_means_init(parent: type[Kernel]) -> type[Kernel]:
    """The same holes, read as what the file began with."""
    return _with_holes(parent, missing_is_shared=False)


BUGS = (
    bug(
        "missing-attr-means-shared",
        rules="I24 I25 I28 linearizability",
        make=missing_attr_means_shared,
        control=missing_attr_means_init,
        versions=("inplace-v8", "inplace"),
        scenario="zoo-inplace_private",
    ),
)
