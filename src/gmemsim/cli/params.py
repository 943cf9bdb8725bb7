"""Types of options that several commands have."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["SECONDS"]


class _Seconds(click.FloatRange):
    """Not negative, and a number: comparisons with NaN are all false, so a limit of that would be none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return found


#: Wall-clock time.
SECONDS = _Seconds(min=0)
