"""What each operation does: importing the package fills `registry.HANDLERS`."""

from __future__ import annotations

from . import control, files, guest, host, inplace, psc, vm
from .registry import HANDLERS

__all__ = ["HANDLERS", "control", "files", "guest", "host", "inplace", "psc", "vm"]
