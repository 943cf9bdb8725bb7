"""Scenarios of conversion in place, on the versions that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import Oracles
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import Session, arches, build

if TYPE_CHECKING:
    from gmemsim.engine.task import Task
    from gmemsim.scenarios.scenario import Scenario

INPLACE = [name for name in names() if name.startswith("inplace_")]

TEXT = """
[scenario]
name = "t"
summary = "t"

[[vm]]
on_memory_fault = "convert"

[[file]]
id = "gmem0"
pages = 4
flags = ["MMAP"]

[[slot]]
file = "gmem0"

[[map]]
id = "mmap"

[setup]
ops = [{ op = "set_file_attributes", private = false, start = 1, count = 2 }]
"""


def run(text: str, patch: str = "inplace", arch: str = "sw-protected", **how: Any) -> Session:
    return build(loads(text, "t.toml"), patch, arch, **how).run()


def results(session: Session, name: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Operation, outcome and values of one task."""
    operations = session.tasks[name].result.operations
    return [(done.op, done.outcome, done.values) for done in operations]


def watched(scenario: Scenario, patch: str, kind: str, seed: int | None, runtime: str) -> list[Any]:
    """All events of a run without violations."""
    log: list[Any] = []

    def rec(task: Task, event: Any) -> None:
        log.append((task.engine.now, task.name, event))

    options = Options(
        rec=rec,
        strategy=None if seed is None else RandomStrategy(seed),
        checker=lambda world, kernel: Oracles(world, kernel, collect=True),
        max_steps=200_000,
        max_virtual_ns=10**10,
    )
    session = build(scenario, patch, kind, small=True, options=options)
    session.run("trio" if runtime == "trio" else "bare")
    assert session.summary().violations == (), (kind, seed)
    return log


@pytest.mark.parametrize("name", INPLACE)
@pytest.mark.parametrize("patch", ["inplace-v8", "inplace", "inplace-off"])
def test_library(name: str, patch: str) -> None:
    """No oracle objects, timed or explored, and the runtimes agree."""
    scenario = load_named(name)
    for kind in (kind for kind in scenario.head.vm_types if kind in arches()):
        for seed in (None, 1, 2):
            events = [watched(scenario, patch, kind, seed, runtime) for runtime in ("bare", "trio")]
            assert events[0] == events[1], (kind, seed)


def test_error_offset_names_the_page_in_use() -> None:
    """The value of a refused conversion is the first page that is in use; after the unpin it succeeds."""
    session = run(
        TEXT
        + """
[[task]]
name = "vmm"
ops = [
    { op = "pin", start = 2, count = 1 },
    { op = "set_file_attributes", private = true },
    { op = "set_file_attributes", private = true, attempts = 3 },
    { op = "unpin", start = 2, count = 1 },
    { op = "set_file_attributes", private = true },
    { op = "set_file_attributes", private = true, offset = 1, length = 4096 },
    { op = "set_file_attributes", private = true, flags = 1 },
    { op = "host_touch", start = 2, count = 1 },
]
"""
    )
    assert [
        (outcome, values) for op, outcome, values in results(session, "vmm") if op == "set_file_attributes"
    ] == [
        ("EAGAIN", ("2",)),
        ("EAGAIN", ("2",)),
        ("ok", ()),
        ("EINVAL", ()),
        ("EINVAL", ()),
    ]
    assert results(session, "vmm")[-1][1] == "SIGBUS"


def test_versions_without_the_call() -> None:
    """-ENOTTY from v3, and with the mode off."""
    text = TEXT.replace("[setup]\nops", "[[task]]\nname = 'vmm'\nops")
    for patch in ("v3", "inplace-off"):
        assert results(run(text, patch), "vmm") == [("set_file_attributes", "ENOTTY", ())]


@pytest.mark.parametrize("arch", ["sw-protected", "snp", "tdx"])
def test_hypercall_converts_and_the_guest_accepts_again(arch: str) -> None:
    """Shared, private, shared again; each access goes through, and the VMM was called each time."""
    session = run(
        TEXT.replace('on_memory_fault = "convert"', 'accept = "lazy"\nchoices = { sept_ve_disable = false }')
        + """
[[task]]
role = "vcpu"
ops = [
    { op = "touch", start = 0, count = 1, write = "a" },
    { op = "hypercall", private = false, start = 0, count = 1 },
    { op = "write", value = "b", start = 0, count = 1 },
    { op = "read", start = 0, count = 1 },
    { op = "hypercall", private = true, start = 0, count = 1 },
    { op = "touch", write = "c", start = 0, count = 1 },
]
""",
        arch=arch,
    )
    done = results(session, "vcpu0")
    assert [outcome for _, outcome, _ in done] == ["ok"] * 6
    assert done[3][2] == ("b",) or "b" in done[3][2][0]
    assert session.tasks["vcpu0"].result.exits["hypercall"] == 2


def test_implicit_conversion_waits_for_a_pin() -> None:
    """The VMM gets -EAGAIN, lets the guest run, and meets the exit again until the page is free."""
    session = run(
        TEXT
        + """
[[task]]
role = "vcpu"
start = "2us"
ops = [{ op = "touch", private = true, start = 1, count = 1, write = "secret" }]

[[task]]
name = "device"
ops = [
    { op = "pin", start = 1, count = 1 },
    { op = "sleep", time = "60us" },
    { op = "unpin", start = 1, count = 1 },
]
""",
        arch="snp",
    )
    ((_, outcome, _),) = results(session, "vcpu0")
    assert outcome == "ok"
    assert session.tasks["vcpu0"].result.exits["memory_fault"] > 1


@pytest.mark.parametrize("patch", ["v3", "inplace"])
@pytest.mark.parametrize("gives_back", [True, False])
def test_a_td_that_gave_a_page_back_did_not_lose_it(patch: str, gives_back: bool) -> None:
    """It has the page pending in either case and dies of it; only where nobody asked it was the VMM."""
    away = [
        '{ op = "hypercall", private = false, expect = "ok" }',
        '{ op = "hypercall", private = true, expect = "ok" }',
    ] if gives_back else ['{ op = "punch_hole", expect = "ok" }']  # fmt: skip
    steps = ['{ op = "accept", expect = "ok" }', '{ op = "touch", write = "out" }', *away, '{ op = "touch" }']
    text = TEXT.replace('on_memory_fault = "convert"', 'accept = "never"').partition("[[map]]")[0]
    text = text.replace('flags = ["MMAP"]', "").replace("pages = 4", "pages = 1")
    flags: list[str] = []
    options = Options(rec=lambda t, event: flags.append(getattr(event, "flag", "")))
    scenario = loads(f'{text}[[task]]\nrole = "vcpu"\nops = [{", ".join(steps)}]', "t.toml")
    session = build(scenario, patch, "tdx", options=options).run()
    assert results(session, "vcpu0")[-1][1] == "dead"
    assert ("TDX_LOST_PAGE" in flags) is not gives_back
