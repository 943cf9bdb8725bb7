"""The failure report: what went wrong, how to see it again, and why, for people and for tools."""

from ..explore.failure import NotReproduced
from .collect import report_failure
from .model import FailureReport

__all__ = ["FailureReport", "NotReproduced", "report_failure"]
