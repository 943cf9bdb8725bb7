"""Which version of the model a kernel is, by its release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.release import RELEASES
from ..patches.stock import stock_version
from .errors import LabError

if TYPE_CHECKING:
    from .kernels import Kernel


def version_of(kernel: Kernel) -> str:
    """The version that a stock kernel of this release is.

    Raises:
        LabError: nobody has looked which it is.
    """
    version = stock_version(kernel.release)
    if version:
        return version
    raise LabError(f"{kernel.release}: which version of the model it is nobody has looked at; give --patch")


def release_of(kernel: Kernel) -> str:
    """The newest release of the model that is not newer than the kernel."""
    known = [name for name in RELEASES if _number(name) <= kernel.series]
    return max(known, key=_number, default=min(RELEASES, key=_number))


def _number(name: str) -> tuple[int, int]:
    major, _, minor = name.partition(".")
    return int(major), int(minor or 0)
