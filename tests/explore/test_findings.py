"""The known defects of the versions are found, and by the right oracle."""

from __future__ import annotations

import pytest

from gmemsim.engine.errors import Deadlock, StepLimit
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.oracles import Violation
from gmemsim.patches.registry import PATCHES, load_patch

from .findings import FINDINGS, Finding, without_abba

CASES = [
    pytest.param(finding, patch, id=f"{finding.name}-{patch}")
    for finding in FINDINGS
    for patch in finding.patches
]


@pytest.mark.parametrize(("finding", "patch"), CASES)
def test_found(finding: Finding, patch: str) -> None:
    """Within the stated number of random schedules it shows, and nothing else does before it."""
    for seed in range(finding.seeds):
        shown = outcome(finding, patch, seed)
        if shown:
            assert shown in finding.shows.split()
            return
    pytest.fail(f"not in {finding.seeds} schedules")


def outcome(finding: Finding, patch: str, seed: int) -> str:
    """The rule or the error that ended the run; empty if it ended well."""
    try:
        finding.make(load_patch(patch)).run(finding.plan, RandomStrategy(seed), max_steps=5_000)
    except Violation as violation:
        return violation.rule
    except (Deadlock, StepLimit) as error:
        return type(error).__name__
    return ""


def test_repair_of_the_abba() -> None:
    """Dropping the folio lock around the hook is enough."""
    finding = FINDINGS[0]
    for seed in range(300):
        finding.make(without_abba(PATCHES["v3"])).run(finding.plan, RandomStrategy(seed))
