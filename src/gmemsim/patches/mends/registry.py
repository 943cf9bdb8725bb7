"""All candidate mends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import memory_failure, unbind

if TYPE_CHECKING:
    from ..zoo.entry import Make
    from .entry import Mend

__all__ = ["MENDS", "SEEDS", "mends_of"]

MENDS: Final[dict[str, Mend]] = {one.ident: one for one in (*memory_failure.MENDS, *unbind.MENDS)}

#: What `VERSION+NAME` can ask for.
SEEDS: Final[dict[str, Make]] = {one.ident: one.make for one in MENDS.values()}


def mends_of(finding: str) -> list[Mend]:
    """Candidates for the finding of that id."""
    return [one for one in MENDS.values() if finding in one.findings]
