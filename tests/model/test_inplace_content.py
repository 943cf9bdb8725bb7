"""Content modes of RFC v3 to v5 (guest-memfd.md 4.14): which are refused, and what they leave in a page."""

from __future__ import annotations

import pytest
from tests.model.inplace_rig import InplaceRig
from tests.model.rig import names, only

from gmemsim.actors.errno import EINVAL, EOPNOTSUPP
from gmemsim.actors.gmem_convert import Converted
from gmemsim.arch.memory import ZERO as ZEROES
from gmemsim.arch.memory import data
from gmemsim.audit.inplace_events import ContentMode, GmemAttrStore, MakeShared
from gmemsim.patches.inplace_content import PRESERVE, ZERO, InplaceContent


def rig(kind: str = "private", shared: bool = True, finalized: bool = True) -> InplaceRig:
    return InplaceRig(InplaceContent, kind, shared=shared, finalized=finalized)


@pytest.mark.parametrize(
    ("kind", "finalized", "private", "flags", "expected"),
    [
        ("private", True, False, ZERO | PRESERVE, Converted(EINVAL)),
        ("private", True, False, 4, Converted(EINVAL)),
        ("private", True, True, ZERO, Converted(EOPNOTSUPP, 0)),
        ("private", True, True, PRESERVE, Converted(0)),
        ("snp", True, True, PRESERVE, Converted(EOPNOTSUPP, 0)),
        ("snp", False, True, PRESERVE, Converted(0)),
        ("snp", True, False, PRESERVE, Converted(EOPNOTSUPP, 0)),
        ("tdx", True, False, ZERO, Converted(0)),
    ],
)
def test_what_is_supported(
    kind: str, finalized: bool, private: bool, flags: int, expected: Converted
) -> None:
    r = rig(kind, finalized=finalized)
    assert r.call(r.set_attributes(0, 3, private, flags=flags)) == expected


def test_zero_preserve_and_neither() -> None:
    """ZERO zeroes, PRESERVE keeps, and without a mode a software-protected VM scrambles."""
    for flags, expected in ((ZERO, ZEROES), (PRESERVE, data("secret")), (0, data("random0"))):
        r = rig(shared=False)
        r.call(lambda t, r=r: r.kernel.guest_access(t, r.vm.vcpus[0], 0x100, None, data("secret")))  # type: ignore[misc]
        assert r.call(r.set_attributes(0, 3, False, flags=flags)) == Converted(0)
        assert names(r.events, MakeShared, ContentMode, GmemAttrStore) == [
            "MakeShared",
            *(["ContentMode"] if flags != PRESERVE else []),
            "GmemAttrStore",
        ]
        assert r.call(r.host(0)) == expected


def test_mode_applies_where_nothing_converts() -> None:
    """The early-out still applies the mode to the whole range."""
    r = rig()
    r.call(r.host(1, data("old")))
    assert r.call(r.set_attributes(0, 3, False, flags=ZERO)) == Converted(0)
    assert [event.index for event in only(r.events, ContentMode)] == [1]
    assert not only(r.events, GmemAttrStore)
    assert r.call(r.host(1)) == ZEROES
