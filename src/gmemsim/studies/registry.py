"""Every study by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .hazards import Hazards
from .library import Library
from .litmus import LitmusTests
from .matrix import Matrix
from .mends.table import Mends
from .zoo import Zoo

if TYPE_CHECKING:
    from .study import Study

#: In the order in which `gmemsim study` lists them.
STUDIES: Final[dict[str, Study]] = {
    study.name: study
    for study in (Zoo(), Hazards(), LitmusTests(), Matrix(2), Matrix(3), Matrix(4), Library(), Mends())
}
