"""Changes to a patch version by name: bugs (`zoo`), what was proposed or feared (`hazards`), what is `posted`, and
candidate `mends` of findings."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .zoo.entry import Make


@cache
def seeds() -> dict[str, Make]:
    """Every change, by the name that `VERSION+NAME` asks for."""
    from .hazards.registry import SEEDS
    from .mends.registry import SEEDS as MENDS
    from .posted import SEEDS as POSTED
    from .zoo.registry import BUGS

    return SEEDS | POSTED | MENDS | {ident: bug.make for ident, bug in BUGS.items() if bug.make is not None}
