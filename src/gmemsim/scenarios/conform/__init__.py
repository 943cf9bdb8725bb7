"""Conformance: what the kernel's own selftests assert, step by step through the real actors."""

from __future__ import annotations

from .rig import Unsupported
from .runner import Case, VectorRun, Verdict, applicable, build_case, version_of
from .vector import EVIDENCE, Step, Vector, VectorError, load_vectors

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
