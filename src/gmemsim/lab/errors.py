"""What goes wrong in the lab, in one line."""

from __future__ import annotations


class LabError(Exception):
    """Something is missing, cannot be run on a kernel, or a kernel did not boot."""
