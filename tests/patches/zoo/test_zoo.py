"""The zoo: every entry of the catalogue is there, what has a variant is found, and its parent is clean."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from gmemsim.patches.zoo.entry import Bug, catalogue
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.studies.study import Plan
from gmemsim.studies.zoo import Zoo

#: The portfolio with two seeds; some races need the second.
PLAN = Plan(repetitions=2, schedules=120)
#: Schedules where not the plan's: some hide longer, and some show so soon that most would go into the clean version.
SCHEDULES = {
    "user-fault-ref-after-il": 500,
    "collapse-creates-large-folio": 20,
    "invalid-slot-treated-as-mmio": 60,
    "missing-attr-means-shared": 40,
    "pfn-cache-retry-livelock": 20,
    "tdx-seamcall-ioctl-contention": 60,
    "zap-drops-whole-huge-leaf": 20,
}

EXPRESSED = [bug for bug in BUGS.values() if bug.expressible]


def test_every_entry_of_the_catalogue_is_listed_once() -> None:
    assert set(BUGS) == set(catalogue())
    assert all(bug.expressible != bool(bug.why_not) for bug in BUGS.values())


def test_catalogue_is_that_of_the_spec() -> None:
    spec = Path(__file__).parents[4] / "shared" / "spec" / "bugs.json"
    if not spec.exists():
        pytest.skip("the spec is not beside the project")
    assert json.loads(spec.read_text()) == list(catalogue().values())


@pytest.mark.parametrize("bug", EXPRESSED, ids=lambda bug: bug.name)
def test_found_or_hidden_as_the_entry_says(bug: Bug) -> None:
    """By a rule of the entry and no other; the version without it is clean under the same search."""
    plan = attrs.evolve(PLAN, schedules=SCHEDULES.get(bug.name, PLAN.schedules))
    for asked in Zoo().asked(bug, (), (), plan):
        row = Zoo().ask(asked, plan).row
        assert not row["others"], row
        assert not row["control"], row
        assert row["found"] == bool(bug.rules and not bug.unfound), row


def test_an_entry_needs_a_variant_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either a variant or a reason"):
        Bug(name="x", title="x", origin="shipped-bug", family="x", source="x")
