"""Which versions a mend is for: those that have a finding that it is a candidate for.

Patches know no finding, so the versions stand here once more, by the finding's id; a test holds them against the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..groups import (
    ALL_VERSIONS,
    ATTRIBUTES,
    HUGE,
    HUGE_WITHOUT_MUTEX,
    IN_PLACE,
    LOCKLESS_UNBIND,
)

if TYPE_CHECKING:
    from .entry import Mend

WITH_FINDING: Final[dict[str, tuple[str, ...]]] = {
    "memory-failure-against-punch": ALL_VERSIONS,
    "memory-failure-allocation-writer": ALL_VERSIONS,
    "memory-failure-fault-conversion": (*IN_PLACE, "inplace-off", *HUGE, "tracked", "tracked-shared"),
    "memory-failure-against-populate": ALL_VERSIONS,
    "unbind-during-memory-failure": LOCKLESS_UNBIND,
    "host-fault-on-poisoned-page": ("inplace", "inplace-off", "inplace-content", *HUGE),
    "soft-offline-evicts-guest-page": ALL_VERSIONS,
    "poisoned-mapping-survives-punch": ("v3", "mainline-7.3", "inplace"),
    "private-page-mapped-shared-at-slot-deletion": (*IN_PLACE, *HUGE),
    "hugepage-split-waits-for-look-up": HUGE_WITHOUT_MUTEX,
    "hugepage-split-waits-for-memory-failure": HUGE,
    "hugepage-hole-zeroes-private-pages": HUGE_WITHOUT_MUTEX,
    "prefault-against-slot-deletion": ("baseline",),
    "prefault-keeps-obsolete-root": ALL_VERSIONS,
    "prefault-after-slot-deletion": ("baseline",),
    "v8-fault-keeps-reference": ("inplace-v8",),
    "fault-against-slot-creation": ("baseline", "v3", "mainline-7.3"),
    "tdx-removal-failure": ALL_VERSIONS,
    "tdx-fault-keeps-obsolete-root": ALL_VERSIONS,
    "tdx-shared-page-survives-hole": (*ATTRIBUTES, "inplace-off"),
    "snp-launch-update-after-finish": ("baseline", "v1", "v2", "v3", "mainline-7.3"),
    "snp-vmsa-page-freed-in-use": ("baseline", "v1", "v2"),
    "snp-rmp-fault-against-reclaim": HUGE,
}


def versions_for(mend: Mend) -> tuple[str, ...]:
    """The versions that the mend is for, oldest first."""
    have = {version for finding in mend.findings for version in WITH_FINDING[finding]}
    return tuple(version for version in ALL_VERSIONS if version in have)
