"""The vectors of huge pages, 2 MiB and 1 GiB, on the version that has them."""

from __future__ import annotations

import pytest

from gmemsim.actors.release import RELEASES
from gmemsim.patches.hugepage import Hugepage
from gmemsim.scenarios.conform import Case, applicable, build_case, load_vectors
from gmemsim.scenarios.conform.suite import EMBEDDED

#: Pins 262,144 pages one by one, which takes most of a minute; `gmemsim conform --patch hugepage` has it.
HEAVY = "huge-pinned-1g-p1"

VECTORS = [v for v in load_vectors(*EMBEDDED) if v.id.startswith("huge-") and v.id != HEAVY]


@pytest.mark.parametrize(("vm_type", "count"), [("default", 6), ("sw-protected", 24)])
def test_huge_vectors_pass(vm_type: str, count: int) -> None:
    """All that say something of the VM type, none of them unsupported."""
    release = RELEASES[Hugepage.default_release]
    wanted = [vector for vector in VECTORS if not applicable(vector, Hugepage, vm_type)]
    assert len(wanted) == count
    found = {v.id: build_case(Case(v, Hugepage, vm_type, release)).verdict().result for v in wanted}
    assert set(found.values()) == {"passed"}, found
