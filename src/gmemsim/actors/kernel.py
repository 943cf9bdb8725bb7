"""The whole modelled kernel, without the functions that differ between patch versions.

`patches` completes it: a version is a concrete subclass.
"""

from __future__ import annotations

from .fork import Forks
from .gmem_fallocate import GmemFallocate
from .gmem_refused import GmemRefused
from .launch import Launch
from .lru import LruBatches
from .memory_region import MemoryRegions
from .vcpu_run import VcpuRun

__all__ = ["Kernel"]


class Kernel(VcpuRun, GmemFallocate, GmemRefused, Forks, Launch, LruBatches, MemoryRegions):
    """Every subject in one object; see `kernel_base` for why."""
