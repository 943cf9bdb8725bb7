# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of preparation, and the race that its authors call benign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import bug

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task


def prepare_outside_folio_lock(parent: type[Kernel]) -> type[Kernel]:
    """The folio lock is dropped around prepare."""

    class PrepareOutsideFolioLock(parent):
        async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
            await self.folio_unlock(t, folio)
            ret: int = await super().kvm_gmem_prepare_folio(t, vm, folio, gfn)
            await folio.lock.lock(t)
            return ret

    return PrepareOutsideFolioLock


def as_it_is(parent: type[Kernel]) -> type[Kernel]:
    """A fault that meets a hole while it is punched may leave a page there: documented as harmless."""
    return parent


BUGS = (
    bug(
        "prepare-outside-folio-lock",
        rules="I33 I5 I32",
        make=prepare_outside_folio_lock,
        vm_types=("sw-protected", "snp"),
        scenario="punch",
    ),
    bug("fault-recreates-page-in-punched-hole", make=as_it_is, scenario="punch"),
)
