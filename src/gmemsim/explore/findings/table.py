"""All findings, and which of them a failure is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import memory_failure, series, slots, vm_types
from .finding import Finding

if TYPE_CHECKING:
    from ..failure import Failure

#: By id, those that kernels were seen to do first.
FINDINGS: Final[dict[str, Finding]] = {
    one.ident: one
    for one in (*memory_failure.FINDINGS, *slots.FINDINGS, *vm_types.FINDINGS, *series.FINDINGS)
}


def known(failure: Failure) -> Finding | None:
    """The finding that the failure is, on the version that showed it; None: it is not known there."""
    return next((one for one in FINDINGS.values() if one.explains(failure)), None)


def sort_of(failure: Failure) -> tuple[str, str, str]:
    """The failure's signature and the id of the finding that it is (empty: none), so that none hides another."""
    finding = known(failure)
    return (*failure.signature, "" if finding is None else finding.ident)


def apart(failure: Failure) -> tuple[str, str, str, str]:
    """Its sort and, of a crash, the place: what a search that keeps going reports once each."""
    return (*sort_of(failure), failure.place)
