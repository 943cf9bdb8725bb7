"""What the findings' pages recommend: nothing that is known to be wrong or was seen to fail, and what was not asked."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.mends.registry import MENDS, mends_of
from gmemsim.studies.mends.unjudged import met, shown_on, versions_of

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    """docs/generate_mends.py, and `rows` as recorded."""
    sys.path.insert(0, str(DOCS))
    try:
        space = runpy.run_path(str(DOCS / "generate_mends.py"))
        return space | {"rows": runpy.run_path(str(DOCS / "mends_cells.py"))["packed"]()}
    finally:
        sys.path.remove(str(DOCS))


@pytest.mark.parametrize("ident", FINDINGS)
def test_a_page_recommends_a_candidate_that_was_asked_or_says_that_it_was_not(
    generator: dict[str, Any], ident: str
) -> None:
    best = generator["recommended"](ident)
    page = (DOCS / "findings" / f"{ident}.md").read_text(encoding="utf-8")
    assert f"**Recommendation.** {generator['RECOMMENDED'][ident]}" in page
    if not best:
        assert generator["RECOMMENDED"][ident].startswith("None")
        return
    assert best in {mend.ident for mend in mends_of(ident)}
    assert not MENDS[best].wrong
    asked = page.partition(f"Of `{best}` on ")[2].partition("\n")[0]
    assert ("**Not asked**" in asked or "**Cut short**" in asked) is not ("Nothing is open." in asked)


@pytest.mark.parametrize("ident", FINDINGS)
def test_what_is_recommended_did_not_meet_the_finding(generator: dict[str, Any], ident: str) -> None:
    best = generator["recommended"](ident)
    for version in versions_of(FINDINGS[ident]) if best else ():
        for shown in shown_on(FINDINGS[ident], version):
            row = generator["rows"].get(("findings", version, best, shown.vm_type, shown.scenario))
            assert row is None or not met(FINDINGS[ident], row), version


def test_what_is_not_recorded_is_said_to_be_open(generator: dict[str, Any]) -> None:
    ident = "snp-launch-update-after-finish"
    of = "Of `snp-launch-state` on mainline-7.3 was asked, all of it: "
    said = generator["open_questions"]({}, ident, "mainline-7.3")
    assert said.startswith(f"{of}nothing. **Not asked**")
    assert "Nothing was asked on baseline, v1, v2, v3, mainline-7.3" in said
    rows = {key: row for key, row in generator["rows"].items() if key[0] != "hazards"}
    said = generator["open_questions"](rows, ident, "mainline-7.3")
    assert "**Not asked**, and nothing speaks for it there: hazards (11 of 11)" in said
