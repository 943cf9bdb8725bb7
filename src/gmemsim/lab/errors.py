"""What goes wrong in the lab, in one line."""

from __future__ import annotations

from ..bad_input import BadInput


class LabError(BadInput):
    """Something is missing, cannot be run on a kernel, or a kernel did not boot."""
