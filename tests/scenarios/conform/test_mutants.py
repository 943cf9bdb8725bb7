"""A short run of the damaged vector files; `mutants.py` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.conform.mutants import judge, mutants


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(tmp_path: Path, seed: int) -> None:
    wrong = {
        f"{number}: {mutant.kind}": found
        for number, mutant in enumerate(mutants(seed, 40))
        if (found := judge(mutant, tmp_path / "mutant.jsonl"))
    }
    assert not wrong
