"""VM types by the name they have on the command line."""

from __future__ import annotations

from typing import Final

from .base import Arch
from .pkvm import Pkvm
from .snp import Snp
from .sw_protected import SwProtected
from .tdx import Tdx

ARCHES: Final[dict[str, type[Arch]]] = {cls.name: cls for cls in (Arch, SwProtected, Snp, Tdx)}

#: VM types that no kernel backs with guest_memfd: what the spec makes of one if it did. They take part in nothing that
#: goes over all VM types; who wants one asks for it by name, on a version that converts in place.
PROJECTIONS: Final[dict[str, type[Arch]]] = {cls.name: cls for cls in (Pkvm,)}

_NOTES: Final = {
    "pkvm": "pKVM is a projection: no kernel backs its guests with guest_memfd. Only the hooks and EL2's page states "
    "are pKVM's; the stage-2 fault path is x86's, and pages are single.",
}


def described(name: str | None) -> str:
    """The VM type for people: a projection says that it is one."""
    return f"{name} (projection)" if name in PROJECTIONS else str(name)


def projection_note(name: str) -> str:
    """What a report on that VM type says of it; nothing for one that exists."""
    return _NOTES.get(name, "")
