"""The studies by their question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .q03_preparedness import Preparedness

if TYPE_CHECKING:
    from .study import Study

__all__ = ["STUDIES"]

STUDIES: Final[dict[str, Study]] = {study.key: study for study in (Preparedness(),)}
