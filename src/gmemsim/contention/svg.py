"""Names inside an SVG that do not depend on the processor.

matplotlib names clip paths and markers after a hash of their coordinates, down to the last bit, in which processors
differ (fused multiplication, wider registers). What is drawn is rounded and the same.
"""

from __future__ import annotations

import re
from typing import Final

#: Where a name is given or used, and the name.
_NAME: Final = re.compile(rb'( id="|="#|url\(#)([a-z][0-9a-f]{10})\b')


def steady_names(svg: bytes) -> bytes:
    """Number what matplotlib named by a hash, in the order of the file."""
    known: dict[bytes, bytes] = {}

    def renamed(found: re.Match[bytes]) -> bytes:
        where, name = found.groups()
        return where + known.setdefault(name, name[:1] + b"%d" % (len(known) + 1))

    return _NAME.sub(renamed, svg)
