"""Findings that no rule calls an error: which versions have them, and how a search tells that it met one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ...explore.findings.finding import Shown

if TYPE_CHECKING:
    from typing import Any

    from ...explore.findings.finding import Finding


@attrs.frozen
class Unjudged:
    """One.

    Attributes:
        versions: of the model, that have it by what was seen on their kernels or read there.
        shown: scenarios that come to it.
        sign: what of an answer of `ask_scenario` says that it was met; empty: nothing does.
    """

    versions: tuple[str, ...]
    shown: tuple[Shown, ...] = ()
    sign: str = ""


#: By id. The table of findings has no versions of these.
UNJUDGED: Final = {
    "poisoned-mapping-survives-punch": Unjudged(("v3", "mainline-7.3", "inplace")),
    "fault-against-slot-creation": Unjudged(
        ("baseline", "v3", "mainline-7.3"), (Shown(scenario="zoo-slot_create", vm_type="default"),), "warned"
    ),
}


def versions_of(finding: Finding) -> tuple[str, ...]:
    """Versions that have it."""
    unjudged = UNJUDGED.get(finding.ident)
    return finding.versions if unjudged is None else unjudged.versions


def as_dict(finding: Finding) -> dict[str, Any]:
    """The finding for JSON, with the versions that have it, whether or not a rule tells."""
    return {**finding.as_dict(), "versions": list(versions_of(finding))}


def shown_on(finding: Finding, version: str) -> list[Shown]:
    """Scenarios that show it on this version."""
    unjudged = UNJUDGED.get(finding.ident)
    shown = finding.shown if unjudged is None else unjudged.shown
    return [one for one in shown if not one.versions or version in one.versions]


def met(finding: Finding, asked: dict[str, Any]) -> bool:
    """Whether the search that gave this answer met the finding."""
    unjudged = UNJUDGED.get(finding.ident)
    if unjudged is not None:
        return bool(asked.get(unjudged.sign))
    return any(each["known"] == finding.ident for each in asked["violations"])
