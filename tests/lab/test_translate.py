"""A scenario as a program of the runner, and what is refused by name."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from gmemsim.lab.errors import LabError
from gmemsim.lab.refusals import refusals
from gmemsim.lab.translate import Program, Steering, translate
from gmemsim.lab.wire import OPCODES
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.ops import OPS
from gmemsim.scenarios.own import _own as own_operations
from gmemsim.scenarios.scenario import loads

HEAD = """
[scenario]
name = "mine"
summary = "mine"
[[vm]]
[[file]]
id = "gmem0"
pages = 2
[[slot]]
file = "gmem0"
gfn = 0x10000
[[map]]
id = "m"
start = 1
"""


def made(text: str) -> Program:
    return translate(loads(HEAD + text, "mine").resolve(), "default")


def test_hole_is_two_threads_and_three_calls() -> None:
    program = translate(load_named("hole").resolve(small=True), "default")
    assert program.tasks == ("vcpu0", "punch")
    assert program.files == ("gmem0",)
    assert program.values == {1: "data:new"}
    assert program.lines == (
        "vm 0 1 0",
        "file 0 4096 3 0",
        "slot 0 0 65536 1 0 0 -1 4 0",
        "setup 0",
        "task vcpu0 0 0 0 0 -1 -1",
        f"op {OPCODES['touch']} 65536 65537 1 0 0 0",
        f"op {OPCODES['read']} 65536 65537 0 0 0 0",
        "task punch 0 -1 0 0 0 4000",
        f"op {OPCODES['punch']} 0 0 4096 1 0 0",
    )
    text = program.text(7, Steering(rounds=5, seed=-1, spread_ns=0, trace=True))
    assert text.startswith("scenario 7 5 4294967295 0 1 0 0 20 30\n")
    assert text.endswith("\nend\n")


def test_rounds_are_written_out_and_values_are_words() -> None:
    program = made(
        '[[task]]\nname = "w"\nrepeat = 2\ngap = "1us"\n'
        'ops = [{ op = "host_write", value = "{task}.{round}.{page}", count = 1 }]'
    )
    assert program.values == {1: "data:w.0.1", 2: "data:w.1.1"}
    write = OPCODES["host_write"]
    assert program.lines[-3:] == (
        f"op {write} 0 0 1 1 0 0", f"op {OPCODES['next_round']} 1000 1000 0 0 0 0", f"op {write} 0 0 1 2 0 0",
    )  # fmt: skip


def test_pages_with_values_of_their_own_are_numbered_in_a_row() -> None:
    program = made('[[task]]\nrole = "vcpu"\nops = [{ op = "write", value = "x{page}" }]')
    assert program.lines[-1] == f"op {OPCODES['write']} 65536 65538 1 1 0 0"
    assert program.values == {1: "data:x65536", 2: "data:x65537"}


def test_memory_failure_by_madvise_goes_by_a_mapping_that_shows_the_page() -> None:
    text = HEAD + '[[task]]\nname = "mce"\nops = [{ op = "memory_failure", start = %d, count = 1 }]'
    workload = loads(text % 1, "mine").resolve()
    assert translate(workload, "default", madvise=True).lines[-1].split()[:4] == [
        "op", str(OPCODES["madvise_failure"]), "0", "0",
    ]  # fmt: skip
    with pytest.raises(LabError, match=r"no \[\[map\]\] shows page 0 of gmem0"):
        translate(loads(text % 0, "mine").resolve(), "default", madvise=True)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[task]]\nrole = "vcpu"\nops = [{ op = "accept" }]', "accept: needs SNP or TDX hardware"),
        ('[[task]]\nname = "a"\nops = [{ op = "migrate" }]', "migrate: no call"),
        ('[[task]]\nname = "a"\nops = [{ op = "populate", source = "x" }]', "populate: needs"),
        (
            '[[task]]\nname = "a"\nops = [{ op = "signal_pending" }, { op = "host_read" }]',
            "signal_pending before host_read: the runner sends a signal with allocate, punch, prefault",
        ),
        (
            '[[task]]\nname = "a"\nops = [{ op = "punch" }]\n[faults]\nalloc_folio = 1',
            "fault point alloc_folio",
        ),
        (
            '[[task]]\nname = "a"\nops = [{ op = "punch" }]\n[[map]]\nid = "n"\nprocess = "other"',
            "process other",
        ),
        ('[[slot]]\nid = 509\npages = 1\n[[task]]\nname = "a"\nops = [{ op = "punch" }]', "slot 509"),
    ],
)
def test_what_a_stock_kernel_cannot_do_is_named(text: str, named: str) -> None:
    with pytest.raises(LabError, match=f"mine cannot run on a stock kernel: .*{re.escape(named)}"):
        made(text)


def test_vm_types_with_hardware_are_refused() -> None:
    workload = load_named("hole").resolve()
    assert refusals(workload, "sw-protected") == []
    assert refusals(workload, "snp") == ["VM type snp: needs its hardware"]


def test_every_operation_is_translated_or_refused() -> None:
    own = {"next_round", "madvise_failure"}
    refused = {
        "accept", "create_ap", "page_state_change", "hypercall", "populate", "launch_finish", "migrate",
        "check_extension", "exit", "fork", "get_mempolicy", "mbind", "move_pages", "nx_huge_pages", "soft_offline",
        "stat", "zap",
    }  # fmt: skip
    assert set(OPS) - set(OPCODES) - set(own_operations) == refused  # those of a test before this one
    assert {name for name in OPCODES if not name.startswith("raw_")} - set(OPS) == own


def test_the_library_is_translated_or_refused_by_name() -> None:
    workloads = [load_named(name).resolve(small=True) for name in names()]
    can = [workload for workload in workloads if not refusals(workload, "default")]
    for workload in can:
        translate(workload, "default")
    assert len(can) >= 20


def test_opcodes_are_those_of_the_runner() -> None:
    text = resources.files("gmemsim.lab").joinpath("runner", "abi.h").read_text(encoding="utf-8")
    body = text[text.index("enum opcode {") :]
    numbers = [name.lower() for name in re.findall(r"^\tOP_(\w+)\b", body[: body.index("};")], re.MULTILINE)]
    words = {"next": "next_round", "guest_touch": "touch", "guest_read": "read", "guest_write": "write"}
    assert [words.get(name, name) for name in numbers] == list(OPCODES)
