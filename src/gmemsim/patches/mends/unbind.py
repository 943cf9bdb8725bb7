# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of the unbind of a dying file, which to 7.2 takes no lock and can part an invalidation from its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .. import gmem_bind
from .entry import Mend

if TYPE_CHECKING:
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...engine.task import Task


def unbind_locks(parent: type[Kernel]) -> type[Kernel]:
    """`kvm_gmem_unbind` as 7.3 has it (1f3359c873db): the invalidate lock whether or not the file is dying."""

    class UnbindLocks(parent):
        async def kvm_gmem_unbind(self, t: Task, slot: Memslot) -> None:
            version: Any = self
            await gmem_bind.kvm_gmem_unbind(version, t, slot)

    return UnbindLocks


MENDS: Final = (
    Mend(
        ident="unbind-locks",
        title="unbind takes the invalidate lock always, as Linux 7.3 does",
        says="no look whether the file lives: slots_lock keeps its release out. Binding stays in one phase",
        findings=("unbind-during-memory-failure",),
        make=unbind_locks,
        blind="callers of kvm_gmem_unbind in an older tree that do not hold slots_lock, if there are any",
        meets=("delete slot",),
    ),
)
