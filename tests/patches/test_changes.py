"""`VERSION+NAME+NAME`: a label that would be false is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import zstandard

from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.mends.registry import MENDS
from gmemsim.patches.mends.versions import WITH_FINDING
from gmemsim.patches.registry import PatchError, load_patch
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.studies.mends.unjudged import versions_of

ROWS = Path(__file__).parents[2] / "docs" / "mends.jsonl.zst"

OWN = """
from gmemsim.patches.{module} import {base}

class Mine({base}):
    async def kvm_gmem_release(self, t, file):
        await super().kvm_gmem_release(t, file)
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "v3+huge-mutex",
            "is for hugepage, hugepage-populate, hugepage-tracked, hugepage-notifier, and not for v3",
        ),
        ("v3+huge-hole-whole-pages", "and not for v3"),
        ("v3+get-pfn-checks-kind", "and not for v3"),
        (
            "mainline-7.3+unbind-locks",
            "is for baseline, v1, v2, v3, tracked, tracked-shared, inplace-v8, and not",
        ),
        ("v3+error-trylock+error-trylock", "error-trylock is named twice"),
        (
            "v3+error-trylock+error-bindings-lock",
            "error-bindings-lock replaces kvm_gmem_error_folio of error-trylock, which would never run",
        ),
        (
            "v3+error-bindings-lock+error-trylock",
            "error-trylock replaces kvm_gmem_error_folio of error-bindings-lock, which would never run",
        ),
        ("v3+psmash-unassigned-benign", "has no effect on v3: nothing there calls sev_psmash_failed"),
    ],
)
def test_refused_in_one_line(name: str, says: str) -> None:
    with pytest.raises(PatchError) as caught:
        load_patch(name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changes_that_go_together() -> None:
    """One calls the other's function, or they have none in common."""
    for name in ("v3+error-bindings-lock+unbind-locks", "v3+error-drop-folio-lock+mf-delayed"):
        assert load_patch(name).name == name
    # The unlocked folio around whatever the hook does.
    assert load_patch("v3+error-trylock+error-drop-folio-lock")


@pytest.mark.parametrize(
    ("module", "base", "mend", "refused"),
    [
        ("v3", "V3", "unbind-locks", False),
        ("mainline_7_3", "Mainline73", "unbind-locks", True),
        ("hugepage", "Hugepage", "huge-mutex", False),
    ],
)
def test_a_patch_counts_as_the_version_that_it_derives_from(
    tmp_path: Path, module: str, base: str, mend: str, *, refused: bool
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN.format(module=module, base=base))
    name = f"{file}:Mine+{mend}"
    if refused:
        with pytest.raises(PatchError, match=re.escape("and not for mainline-7.3")):
            load_patch(name)
    else:
        assert load_patch(name).name == name


def test_a_mend_is_for_the_versions_that_have_its_finding() -> None:
    named = {finding for mend in MENDS.values() for finding in mend.findings}
    assert set(WITH_FINDING) == named
    for finding, versions in WITH_FINDING.items():
        assert set(versions) == set(versions_of(FINDINGS[finding])), finding


def test_what_is_recorded_can_be_asked() -> None:
    """Rows of the bench, and bugs of the zoo on the versions that they are seeded into."""
    lines = zstandard.ZstdDecompressor().decompress(ROWS.read_bytes()).splitlines()
    asked = {tuple(json.loads(line)["key"][1:3]) for line in lines}
    asked |= {
        (version, bug.name) for bug in BUGS.values() if bug.make is not None for version in bug.versions
    }
    assert len(asked) > 200
    for version, change in asked:
        if change:
            load_patch(f"{version}+{change}")
