# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of return values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.kernel import Kernel


def as_it_is(parent: type[Kernel]) -> type[Kernel]:
    """Every version read has it: "delayed" counts as a failure."""
    return parent


def delayed_is_success(parent: type[Kernel]) -> type[Kernel]:
    """As the RFC of October 2025 would have it."""

    class DelayedIsSuccess(parent):
        def action_result(self) -> int:
            return 0

    return DelayedIsSuccess


BUGS = (
    bug(
        "mf-delayed-treated-as-failure",
        rules="unexpected_outcome",
        make=as_it_is,
        control=delayed_is_success,
        scenario="zoo-memory_failure",
    ),
    missing(
        "direct-map-zap-error-ignored",
        "needs the series that takes guest_memfd out of the host's direct map, which is not modelled",
    ),
)
