"""In which functions versions differ."""

from __future__ import annotations

import pytest

from gmemsim.patches.difference import constants, differences, functions, predecessor
from gmemsim.patches.registry import load_patch, versions
from gmemsim.patches.v3 import V3


def names(version: str, other: str) -> dict[str, str]:
    return {one.name: one.kind for one in differences(load_patch(version), load_patch(other))}


def test_what_v3_changes() -> None:
    assert names("v3", "v2") == {"populate_fetches": "changed"}


def test_what_a_series_adds_and_takes_away() -> None:
    found = names("v1", "baseline")
    assert found["kvm_gmem_make_ready"] == "changed"
    assert found["kvm_gmem_populate_one"] == "added"
    assert found["kvm_gmem_populate_copy"] == "gone"  # inherited, and never called


@pytest.mark.parametrize("name", sorted(versions()))
def test_a_version_is_the_same_as_itself(name: str) -> None:
    cls = load_patch(name)
    assert differences(cls, cls) == []
    assert constants(cls, cls) == {}
    before = predecessor(cls, versions())
    assert (before is None) == (name == "baseline")
    if before is not None:
        # A version that changes nothing would be none: what makes it one has to show.
        assert differences(cls, before) or constants(cls, before).keys() - {"default_release"}


def test_the_kernel_function_of_a_helper() -> None:
    (found,) = differences(load_patch("v3"), load_patch("v2"))
    assert all(name.startswith("kvm_gmem_populate") for name in found.kernel)
    (after,) = found.after
    assert after.qualname == "V3.populate_fetches"
    assert after.file.name == "v3.py"
    assert "def populate_fetches" in after.source


def test_what_is_reached_by_super_counts() -> None:
    class Mine(V3):
        def populate_fetches(self, source: object) -> bool:
            return super().populate_fetches(source)  # type: ignore[arg-type]

    (found,) = differences(Mine, V3)
    assert [one.qualname.rpartition(".<locals>.")[2] for one in found.after] == [
        "Mine.populate_fetches",
        "V3.populate_fetches",
    ]


def test_all_functions_of_a_version() -> None:
    every = {one.name for one in functions(load_patch("v3"))}
    assert "kvm_gmem_get_pfn" in every
    assert "kvm_gmem_populate_copy" not in every
