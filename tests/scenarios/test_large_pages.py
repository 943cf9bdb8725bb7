"""Operations at 2 MiB from a scenario: acceptance, page state changes."""

from __future__ import annotations

import pytest

from gmemsim.scenarios.psc import PscBuffer
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import Session, build

HUGE = 512

TEXT = """
[scenario]
name = "large"
summary = "two huge pages"
vm_types = ["sw-protected", "snp"]

[[vm]]
accept = "never"

[[file]]
id = "gmem0"
pages = 1024
flags = ["MMAP", "HUGETLB", "HUGETLB_2M"]

[[slot]]
file = "gmem0"
gfn = 0x40000
"""


def run(ops: str, kind: str = "snp", vcpus: int = 1) -> Session:
    tasks = f'\n[[task]]\nrole = "vcpu"\ninstances = {vcpus}\nops = [{ops}]\n'
    session = build(loads(TEXT + tasks, "large.toml"), "hugepage-mutex", kind)
    session.run()
    assert session.summary().violations == ()
    return session


def events(session: Session, name: str) -> int:
    return session.summary().events.get(name, 0)


def test_accept_at_2m_takes_one_instruction_a_huge_page() -> None:
    session = run('{ op = "accept", level = 2, expect = "ok" }, { op = "touch", write = "x", expect = "ok" }')
    stage2 = session.machine.vm("vm0").stage2
    assert [spte.level for _, spte in stage2.all()] == [2, 2]
    small = run('{ op = "accept", expect = "ok" }')
    assert (events(session, "hardware_op"), events(small, "hardware_op")) == (4, 2 + 2 + 1024)


def test_accept_at_2m_falls_back_where_hardware_has_small_pages() -> None:
    """One page was accepted before: it is left out, the others go one by one."""
    run(
        '{ op = "accept", start = 3, count = 1 }, { op = "accept", level = 2, count = 512, expect = "ok" },'
        '{ op = "touch", count = 512, write = "x", expect = "ok" }'
    )


@pytest.mark.parametrize(("done", "ranges"), [(0, 1), (500, 2), (512, 1)])
def test_page_state_change_joins_entries_of_one_size(done: int, ranges: int) -> None:
    """Two 2 MiB entries are one range, unless the first was begun: its rest goes alone."""
    session = run(f'{{ op = "page_state_change", private = false, level = 2, done = {done}, expect = "ok" }}')
    assert events(session, "hypercall") == ranges
    attributes = session.machine.inodes[0].attributes
    assert attributes is not None
    assert attributes.ranges() == ([(0, 1024, False)] if not done else [(0, done, True), (done, 1024, False)])


def test_psc_in_both_directions_and_acceptance_again() -> None:
    run(
        '{ op = "accept", level = 2 }, { op = "page_state_change", private = false, level = 2, expect = "ok" },'
        '{ op = "touch", write = "shared", expect = "ok" },'
        '{ op = "page_state_change", private = true, level = 2, expect = "ok" },'
        '{ op = "accept", level = 2, expect = "ok" }, { op = "touch", write = "x", expect = "ok" }'
    )


def test_page_state_change_is_snp_only() -> None:
    run('{ op = "page_state_change", private = false, expect = "EOPNOTSUPP" }', kind="sw-protected")


def test_buffers_and_ranges() -> None:
    """4 KiB up to the first aligned page, 2 MiB from there; a buffer holds 253 entries."""
    buffers = PscBuffer.fill(510, 2 * HUGE + 1, True, 2)
    assert [(entry.gfn, entry.level) for buffer in buffers for entry in buffer.entries] == [
        (510, 1), (511, 1), (512, 2), (1024, 1),
    ]  # fmt: skip
    (buffer,) = buffers
    assert buffer.next_range() == (2, 510, 2)
    assert [len(buffer.entries) for buffer in PscBuffer.fill(0, 300, True, 1)] == [253, 47]
