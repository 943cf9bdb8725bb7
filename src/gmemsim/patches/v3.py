"""v3, as merged (Linux 7.2). Against v2: a TDX NULL source is refused by the callback, GUP only with a source.

guest-memfd.md 3: in common code nothing else changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .v2 import V2

if TYPE_CHECKING:
    from ..actors.gmem_populate import Source


class V3(V2):
    """The merged series."""

    name: ClassVar[str] = "v3"
    default_release: ClassVar[str] = "7.2"

    def populate_fetches(self, source: Source | None) -> bool:
        """Fetch a page only if there is a source."""
        return source is not None
