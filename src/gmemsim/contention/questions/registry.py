"""The studies by their question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .q01_shared_lock import SharedLock
from .q03_preparedness import Preparedness
from .q15_exact_ranges import ExactRanges
from .q17_writer_fairness import WriterFairness

if TYPE_CHECKING:
    from .study import Study

__all__ = ["STUDIES"]

STUDIES: Final[dict[str, Study]] = {
    study.key: study for study in (SharedLock(), Preparedness(), ExactRanges(), WriterFairness())
}
