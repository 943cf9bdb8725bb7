"""Every finding shows in its scenarios on the versions that the table says, and is told; elsewhere it does not."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from tests.explore.findings.search_for import search_for
from tests.explore.repairs import without_abba

from gmemsim.explore.findings.finding import Finding, Shown
from gmemsim.explore.findings.groups import ALL_VERSIONS
from gmemsim.explore.findings.table import FINDINGS, known
from gmemsim.patches.registry import versions
from gmemsim.scenarios.catalogue import load_named

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "findings"

#: One of each kind, where it shows and elsewhere; the others are derived from these, and run with the long tests.
OFTEN = {
    True: {"baseline", "v3", "mainline-7.3", "inplace-v8", "inplace", "inplace-off", "hugepage"},
    False: {"v3", "mainline-7.3", "inplace", "hugepage-mutex"},
}


def on_versions(one: Finding, shown: Shown) -> tuple[str, ...]:
    """Where the scenario shows it."""
    return shown.versions or one.versions


def applies(shown: Shown, version: str) -> bool:
    """Whether the scenario can be run on the version at all: huge pages need a version that has them."""
    files = load_named(shown.scenario).resolve().document.file
    return version.startswith("hugepage") or not any("HUGETLB" in file.flags for file in files)


def elsewhere(one: Finding, shown: Shown) -> list[str]:
    """Versions that do not have it, and can run the scenario."""
    return [name for name in ALL_VERSIONS if name not in one.versions and applies(shown, name)]


def cases(*, on: bool) -> list[object]:
    """Finding, scenario and version, for the versions that have it or for the others."""
    return [
        pytest.param(
            one, shown, version, id=f"{one.ident}-{shown.vm_type}-{version}",
            marks=[] if version in OFTEN[on] else [pytest.mark.long],
        )
        for one in FINDINGS.values()
        for shown in one.shown
        for version in (on_versions(one, shown) if on else elsewhere(one, shown))
    ]  # fmt: skip


@pytest.mark.parametrize(("one", "shown", "version"), cases(on=True))
def test_it_shows_and_is_known(one: Finding, shown: Shown, version: str) -> None:
    release = one.releases.get(version, (None,))[0]
    (found,) = search_for(shown, version, release)
    assert known(found.failure) is one


@pytest.mark.parametrize(("one", "shown", "version"), cases(on=False))
def test_it_does_not_show_elsewhere(one: Finding, shown: Shown, version: str) -> None:
    """Another finding may; nothing that is unknown."""
    for found in search_for(shown, version, schedules=min(shown.schedules, 200)):
        assert known(found.failure) not in (one, None), found.failure.summary


@pytest.mark.parametrize(
    ("ident", "version", "release"),
    [
        ("prefault-against-slot-deletion", "baseline", "6.18"),
        ("tdx-removal-failure", "baseline", "6.18"),
        ("host-fault-on-poisoned-page", "baseline", "6.18"),
    ],
)
def test_not_on_another_release(ident: str, version: str, release: str) -> None:
    one = FINDINGS[ident]
    for shown in one.shown:
        assert not search_for(shown, version, release)


def test_a_repaired_version_is_clean() -> None:
    """Dropping the folio lock around the hook ends the deadlock with PUNCH_HOLE."""
    from gmemsim.patches.v3 import V3

    (shown,) = FINDINGS["memory-failure-against-punch"].shown
    assert not search_for(shown, without_abba(V3), schedules=100)


def test_a_patch_of_ones_own_has_what_its_version_has() -> None:
    from gmemsim.patches.v3 import V3

    class Mine(V3):
        name = "mine"

    one = FINDINGS["memory-failure-against-punch"]
    (found,) = search_for(one.shown[0], Mine)
    assert known(found.failure) is one


def test_versions_and_scenarios_exist() -> None:
    assert set(ALL_VERSIONS) == set(versions())
    for one in FINDINGS.values():
        assert set(one.versions) <= set(versions())
        assert set(one.releases) <= set(one.versions)
        for shown in one.shown:
            assert shown.vm_type in (load_named(shown.scenario).head.vm_types or [shown.vm_type])
        for scenario in one.library:
            assert load_named(scenario).head.name == scenario
        assert one.shown or not one.patterns


def test_what_is_fixed_or_refuted_is_not_claimed_of_that_version() -> None:
    """A release of which a state says so is not among the versions' own releases."""
    assert "mainline-7.3" not in FINDINGS["unbind-during-memory-failure"].versions
    assert not {"v3", "mainline-7.3"} & set(FINDINGS["host-fault-on-poisoned-page"].versions)
    assert not FINDINGS["tdx-removal-failure"].is_of("baseline", "6.18", ("tdx",))


def test_every_finding_has_a_page_and_every_page_a_finding() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(FINDINGS)
    for one in FINDINGS.values():
        text = (ROOT / one.page).read_text(encoding="utf-8")
        # The page says what the table says of kernels.
        for state in one.states:
            for kernel in state.kernels:
                assert kernel in text, (one.ident, kernel)
        for shown in one.shown:
            assert shown.scenario in text, (one.ident, shown.scenario)
        if one.reproducer:
            assert f"reproducers/{one.reproducer}.c" in text, one.ident
            assert (ROOT / "reproducers" / f"{one.reproducer}.c").is_file(), one.ident


def test_the_index_is_the_table() -> None:
    """docs/generate_findings.py wrote it."""
    space = runpy.run_path(str(ROOT / "docs" / "generate_findings.py"))
    assert (PAGES / "README.md").read_text(encoding="utf-8") == space["page"]()


def test_what_the_readme_says_of_findings_is_the_table() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    confirmed = [one for one in FINDINGS.values() if any(state.kind == "confirmed" for state in one.states)]
    new = sum(not one.reported for one in FINDINGS.values())
    assert f"{len(FINDINGS)} findings" in text
    assert f"{len(confirmed)} of them confirmed on stock kernels" in text
    assert f"{new} that nobody reported" in text
