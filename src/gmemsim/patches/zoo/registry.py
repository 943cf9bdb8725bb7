"""Every seeded bug, by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...folders import modules_of

if TYPE_CHECKING:
    from .entry import Bug

#: By id, family by family. Entries without a variant say why.
BUGS: Final[dict[str, Bug]] = {
    bug.name: bug for family in modules_of(__name__, "BUGS") for bug in family.BUGS
}
