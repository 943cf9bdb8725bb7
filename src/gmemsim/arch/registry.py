"""VM types by the name they have on the command line."""

from __future__ import annotations

from typing import Final

from .base import Arch
from .snp import Snp
from .sw_protected import SwProtected
from .tdx import Tdx

__all__ = ["ARCHES"]

ARCHES: Final[dict[str, type[Arch]]] = {cls.name: cls for cls in (Arch, SwProtected, Snp, Tdx)}
