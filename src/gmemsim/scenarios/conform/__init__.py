"""Conformance: what the kernel's own selftests assert, step by step through the real actors."""

from __future__ import annotations

from .case import Case, applicable, version_of
from .document import VectorError
from .rig import Unsupported
from .runner import VectorRun, Verdict, build_case
from .vector import EVIDENCE, Step, Vector, load_vectors

__all__ = [
    "EVIDENCE",
    "Case",
    "Step",
    "Unsupported",
    "Vector",
    "VectorError",
    "VectorRun",
    "Verdict",
    "applicable",
    "build_case",
    "load_vectors",
    "version_of",
]
