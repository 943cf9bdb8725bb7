"""Names that patches written for 0.3 and before import from here."""

from .fault import RetPf
from .kernel import Kernel as KernelBase

__all__ = ["KernelBase", "RetPf"]
