"""Which version of the series a stock kernel has, by its release."""

from __future__ import annotations

import re
from typing import Final

#: First release of each version, newest first; 6.19 to 7.1 were not looked at, so they have none.
_VERSIONS: Final = (((7, 3), "mainline-7.3"), ((7, 2), "v3"), ((6, 19), ""), ((6, 8), "baseline"))


def stock_version(release: str) -> str:
    """Name of the version of `7.3`, `7.3.4`, `7.3.4+deb13-amd64`; empty: nobody has looked which it is."""
    found = re.match(r"(\d+)\.(\d+)", release)
    series = (int(found[1]), int(found[2])) if found else (0, 0)
    return next((version for first, version in _VERSIONS if series >= first), "")
