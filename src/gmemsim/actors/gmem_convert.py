"""What a conversion of a range comes to; its functions are those of the versions in place (`patches.gmem_convert`)."""

from __future__ import annotations

from typing import NamedTuple


class Converted(NamedTuple):
    """Answer of the call: 0 or a negative errno, and the index that `error_offset` names (-1: not written)."""

    ret: int
    error_index: int = -1
