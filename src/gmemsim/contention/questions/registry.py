"""The studies by their question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .q01_shared_lock import SharedLock
from .q02_lookup_lock import LookupLock
from .q03_preparedness import Preparedness
from .q05_populate_sections import PopulateSections
from .q08_clear_size import ClearSize
from .q09_again import Again
from .q10_conversion_size import ConversionSize
from .q11_zap_filter import ZapFilter
from .q12_split_size import SplitSize
from .q13_hole_and_pool import HoleAndPool
from .q14_huge_mutex import HugeMutex
from .q15_exact_ranges import ExactRanges
from .q17_writer_fairness import WriterFairness

if TYPE_CHECKING:
    from .study import Study

STUDIES: Final[dict[str, Study]] = {
    study.key: study
    for study in (
        SharedLock(),
        LookupLock(),
        Preparedness(),
        PopulateSections(),
        ClearSize(),
        Again(),
        ConversionSize(),
        ZapFilter(),
        SplitSize(),
        HoleAndPool(),
        HugeMutex(),
        ExactRanges(),
        WriterFairness(),
    )
}
