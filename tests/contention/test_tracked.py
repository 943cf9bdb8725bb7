"""The tracked variants run in the whole library without breaking an invariant, and ask the arch less often."""

from __future__ import annotations

import pytest

from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import Oracles
from gmemsim.patches.registry import PATCHES, VARIANTS, load_patch
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.session import build


def rules(scenario: str, patch: str, seed: int | None) -> set[str]:
    """Rules that one run breaks; a timed run without a seed."""
    strategy = None if seed is None else RandomStrategy(seed)
    options = Options(strategy=strategy, checker=lambda world, kernel: Oracles(world, kernel, collect=True))
    session = build(load_named(scenario), patch, small=True, options=options)
    session.run()
    return {violation.rule for violation in session.violations}


@pytest.mark.parametrize("patch", sorted(VARIANTS))
@pytest.mark.parametrize("scenario", names())
def test_breaks_nothing_that_v3_keeps(scenario: str, patch: str) -> None:
    for seed in (None, 0, 1, 2, 3):
        assert rules(scenario, patch, seed) <= rules(scenario, "v3", seed)


def test_variants_are_loaded_by_name_and_are_no_versions() -> None:
    assert not set(VARIANTS) & set(PATCHES)
    for name, cls in VARIANTS.items():
        assert load_patch(name) is cls
