"""Every hazard by number, and every seed by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...folders import modules_of

if TYPE_CHECKING:
    from ..zoo.entry import Make
    from .entry import Hazard

_FAMILIES: Final = tuple(modules_of(__name__, "HAZARDS"))

#: In the order of the list.
HAZARDS: Final[dict[str, Hazard]] = {
    hazard.name: hazard
    for hazard in sorted(
        (hazard for family in _FAMILIES for hazard in family.HAZARDS), key=lambda hazard: int(hazard.name)
    )
}

#: Changes that `VERSION+NAME` asks for.
SEEDS: Final[dict[str, Make]] = {name: make for family in _FAMILIES for name, make in family.SEEDS.items()}
