"""No oracle fires in any library scenario on any version and VM type, other than for the findings that are known."""

from __future__ import annotations

import pytest

from gmemsim.jobs.share import Place
from gmemsim.patches.registry import versions
from gmemsim.studies.library import Library
from gmemsim.studies.study import Plan
from gmemsim.studies.survey import Survey

pytestmark = pytest.mark.long


@pytest.mark.parametrize("patch", versions())
def test_only_what_is_known(patch: str) -> None:
    """A known finding that does not show any more is an error too."""
    survey = Survey(Library(), Plan(schedules=100, known=300), patches=[patch])
    list(survey.run(Place()))
    assert [(result.asked.key, result.says) for result in survey.wrong] == []
