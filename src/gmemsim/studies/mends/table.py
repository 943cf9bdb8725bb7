"""The candidates of one finding, each searched on one version beside the version as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ...explore.findings.groups import IN_PLACE
from ...patches.mends.registry import mends_of
from .ask import ask_scenario
from .unjudged import met, shown_on, versions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...explore.findings.finding import Finding
    from ...patches.mends.entry import Mend

__all__ = ["Row", "default_version", "rows"]


@attrs.frozen
class Row:
    """What came of one scenario with one mend (None: the version as it is).

    Attributes:
        asked: of `ask_scenario`.
        gone: the finding is: not met, in a complete search. None: not met, and the search was cut short.
        broken: rules that are broken with the mend and not without, with what the first failure says.
        added, removed: edges of the lock order against the version as it is; of `cycles` likewise.
    """

    mend: Mend | None
    scenario: str
    asked: dict[str, Any]
    gone: bool | None
    broken: dict[str, str]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    cycles_added: tuple[str, ...] = ()
    cycles_removed: tuple[str, ...] = ()


def default_version(finding: Finding) -> str:
    """The newest released version that has it, else the series in place, else its last."""
    there = versions_of(finding)
    for name in ("mainline-7.3", "v3", "inplace", *reversed(IN_PLACE), "hugepage"):
        if name in there:
            return name
    return there[-1]


def judged(finding: Finding, mend: Mend | None, asked: dict[str, Any], base: dict[str, Any]) -> Row:
    """Hold one answer against that of the version as it is."""
    there = {each["rule"] for each in base["violations"] if not each["known"]}
    broken: dict[str, str] = {}
    for each in asked["violations"]:
        # What is known is the version's, with the mend or without.
        if not each["known"] and each["rule"] not in there:
            broken.setdefault(each["rule"], each["summary"])
    edges, before = set(asked["edges"]), set(base["edges"])
    cycles, cycles_before = set(asked["cycles"]), set(base["cycles"])
    return Row(
        mend=mend,
        scenario=asked["scenario"],
        asked=asked,
        gone=False if met(finding, asked) else True if asked["complete"] else None,
        broken=broken,
        added=tuple(sorted(edges - before)),
        removed=tuple(sorted(before - edges)),
        cycles_added=tuple(sorted(cycles - cycles_before)),
        cycles_removed=tuple(sorted(cycles_before - cycles)),
    )


def rows(finding: Finding, version: str, *, states: int, seconds: float | None) -> Iterator[Row]:
    """Every scenario of the finding, first on the version as it is, then with each candidate."""
    for shown in shown_on(finding, version):
        base: dict[str, Any] | None = None
        for mend in (None, *mends_of(finding.ident)):
            patch = version if mend is None else f"{version}+{mend.ident}"
            asked = ask_scenario(
                shown.scenario,
                patch,
                shown.vm_type,
                release=finding.releases[version][0] if version in finding.releases else None,
                states=states,
                seconds=seconds,
            )
            base = base or asked
            yield judged(finding, mend, asked, base)
