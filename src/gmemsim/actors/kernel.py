"""The whole modelled kernel, without the functions that differ between patch versions.

`patches` completes it: a version is a concrete subclass.
"""

from __future__ import annotations

from .gmem_fallocate import GmemFallocate
from .gmem_populate import GmemPopulate
from .gmem_refused import GmemRefused
from .memory_failure import MemoryFailures
from .memslots import Memslots
from .vcpu_run import VcpuRun

__all__ = ["Kernel"]


class Kernel(VcpuRun, GmemFallocate, GmemRefused, GmemPopulate, MemoryFailures, Memslots):
    """Every subject in one object; see `kernel_base` for why."""
