"""Stock kernels and the versions that they have."""

from __future__ import annotations

import pytest

from gmemsim.patches.registry import load_patch
from gmemsim.patches.stock import stock_version


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.12", "baseline"),
        ("6.18.15+deb13-amd64", "baseline"),
        ("6.19", ""),
        ("7.1.2", ""),
        ("7.2.13", "v3"),
        ("7.3.4+deb13-amd64", "mainline-7.3"),
        ("7.10", "mainline-7.3"),
        ("6.7", ""),
        ("", ""),
        ("next", ""),
    ],
)
def test_version_of_a_release(release: str, version: str) -> None:
    assert stock_version(release) == version
    assert not version or load_patch(version).name == version
