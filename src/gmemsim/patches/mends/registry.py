"""All candidate mends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import conversion, host, huge, memory_failure, slots, snp, tdx, unbind

if TYPE_CHECKING:
    from ..zoo.entry import Make
    from .entry import Mend

MENDS: Final[dict[str, Mend]] = {
    one.ident: one
    for module in (memory_failure, unbind, host, tdx, snp, slots, huge, conversion)
    for one in module.MENDS
}

#: What `VERSION+NAME` can ask for.
SEEDS: Final[dict[str, Make]] = {one.ident: one.make for one in MENDS.values()}


def mends_of(finding: str) -> list[Mend]:
    """Candidates for the finding of that id."""
    return [one for one in MENDS.values() if finding in one.findings]
