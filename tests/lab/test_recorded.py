"""What kernels came to, carried in docs/lab, against the model of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.cli.lab_compare import scenario_of
from gmemsim.lab.batch import ask_again
from gmemsim.lab.results import digest_of, read_results

DATA = Path(__file__).parents[2] / "docs" / "lab"
FILES = sorted(path.name for path in DATA.glob("results-*.jsonl.gz"))


def test_every_campaign_is_carried_whole_and_without_a_difference() -> None:
    assert len(FILES) >= 2
    for name in FILES:
        _, rows = read_results(DATA / name)
        for row in rows.values():
            assert row.verdict in ("agree", "refused")
            assert row.digest == digest_of(scenario_of(row.scenario).source.text)


@pytest.mark.parametrize("name", FILES)
def test_a_kernels_outcomes_are_still_the_models(name: str) -> None:
    """Small ones only, which take seconds, on a busy machine more; `gmemsim lab again` asks all."""
    head, rows = read_results(DATA / name)
    small = sorted(
        (row for row in rows.values() if row.model_complete),
        key=lambda row: (len(row.kernel_outcomes) == 1, row.model_states),
    )[:2]
    assert small
    for row in small:
        again = ask_again(head, row, scenario_of(row.scenario), head.patch, 2_000, 600)
        assert again.verdict == "agree", again.not_of_the_model
        assert again.model_complete
