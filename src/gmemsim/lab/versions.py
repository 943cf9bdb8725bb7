"""Which version of the model a kernel is, by its release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..actors.release import RELEASES
from .errors import LabError

if TYPE_CHECKING:
    from .kernels import Kernel

__all__ = ["release_of", "version_of"]

#: First series of each version, newest first; 6.19 to 7.1 were not looked at, so they have none.
_VERSIONS: Final = (((7, 3), "mainline-7.3"), ((7, 2), "v3"), ((6, 19), ""), ((6, 8), "baseline"))


def version_of(kernel: Kernel) -> str:
    """The version that a stock kernel of this release is.

    Raises:
        LabError: nobody has looked which it is.
    """
    for series, version in _VERSIONS:
        if kernel.series >= series and version:
            return version
        if kernel.series >= series:
            break
    raise LabError(f"{kernel.release}: which version of the model it is nobody has looked at; give --patch")


def release_of(kernel: Kernel) -> str:
    """The newest release of the model that is not newer than the kernel."""
    known = [name for name in RELEASES if _number(name) <= kernel.series]
    return max(known, key=_number, default=min(RELEASES, key=_number))


def _number(name: str) -> tuple[int, int]:
    major, _, minor = name.partition(".")
    return int(major), int(minor or 0)
