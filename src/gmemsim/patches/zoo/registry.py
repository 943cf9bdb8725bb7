"""Every seeded bug, by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import (
    arch,
    attributes,
    collapse,
    convert,
    errno,
    lifecycle,
    liveness,
    lock_order,
    mmu_retry,
    page_cache,
    populate,
    prepare,
    rwsem,
    uptodate,
)

if TYPE_CHECKING:
    from .entry import Bug

_FAMILIES: Final = (
    arch,
    attributes,
    collapse,
    convert,
    errno,
    lifecycle,
    liveness,
    lock_order,
    mmu_retry,
    page_cache,
    populate,
    prepare,
    rwsem,
    uptodate,
)

#: By id, family by family. Entries without a variant say why.
BUGS: Final[dict[str, Bug]] = {bug.name: bug for family in _FAMILIES for bug in family.BUGS}
