"""Reports of the cases, each made once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from tests.report.cases import CASES, find

from gmemsim.report import report_failure

if TYPE_CHECKING:
    from gmemsim.explore.runs import Program
    from gmemsim.explore.search import Found
    from gmemsim.report import FailureReport

__all__ = ["TOKEN", "found", "report"]

#: Stands for a replay token.
TOKEN = "v1.abc"


@lru_cache
def found(name: str) -> tuple[Program, Found]:
    """Program and failing run of a case."""
    return find(CASES[name])


@lru_cache
def report(name: str) -> FailureReport:
    """Its report."""
    return report_failure(*found(name), TOKEN)
