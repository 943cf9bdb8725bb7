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
    assert "hazards (11 of 11)" in said.partition("**Not asked**")[2]


@pytest.mark.parametrize("ident", FINDINGS)
def test_how_to_check_names_the_release_and_each_command_once(generator: dict[str, Any], ident: str) -> None:
    lines = generator["how_to_check"](ident)
    assert len({line for line in lines if line}) == len([line for line in lines if line])
    for line in lines:
        if " --patch " in line:
            version = line.partition(" --patch ")[2].partition("+")[0]
            release = FINDINGS[ident].release_on(version)
            assert (f" --release {release} " in line) is bool(release)


def test_a_search_that_was_cut_short_is_open(generator: dict[str, Any]) -> None:
    ident, best = "snp-launch-update-after-finish", "snp-launch-state"
    key = ("findings", "mainline-7.3", best, "snp", "zoo-launch_late")
    rows = {**generator["rows"], key: {**generator["rows"][key], "complete": False}}
    said = generator["open_questions"](rows, ident, "mainline-7.3")
    assert "**Cut short**, so that only a part of the states was looked at: scenarios (1 of 1)" in said
    assert "Nothing is open." not in said


def test_a_page_says_how_it_is_known_that_a_mend_is_wrong(generator: dict[str, Any]) -> None:
    for mend in MENDS.values():
        for ident in mend.findings if mend.wrong else ():
            page = (DOCS / "findings" / f"{ident}.md").read_text(encoding="utf-8")
            said = page.partition(f"* `{mend.ident}`: ")[2].partition("\n")[0]
            assert "The searches show it: " in said or generator["SEEN_WRONG"][mend.ident] in said


@pytest.mark.parametrize("ident", FINDINGS)
def test_a_page_lists_the_versions_of_the_table(ident: str) -> None:
    page = (DOCS / "findings" / f"{ident}.md").read_text(encoding="utf-8")
    there = ", ".join(f"`{version}`" for version in versions_of(FINDINGS[ident]))
    assert f"Versions of the model that have the finding: {there}." in page
