"""Calls with words as they are, other processes, placement, ordinary buffers, and guests that accept when they must."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.audit.kvm_events import Close, Discard
from gmemsim.lab.refusals import refusals
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import Session, build

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

HEAD = '[scenario]\nname = "x"\nsummary = "s"\n'
FILE = '[[file]]\nid = "g"\npages = 4\nflags = ["MMAP", "INIT_SHARED"]\n'
SLOT = '[[slot]]\nfile = "g"\ngfn = 0x100\n'
MAP = '[[map]]\nid = "m"\nfile = "g"\n'


def run(text: str, arch: str = "default", patch: str = "v3") -> Session:
    return build(loads(HEAD + text), patch, arch).run()


def outcomes(
    ops: str, before: str = FILE, arch: str = "default", patch: str = "v3", more: str = ""
) -> list[str]:
    session = run(f'{before}[[task]]\nname = "vmm"\n{more}ops = [{ops}]\n', arch, patch)
    return [result.outcome for result in session.results["vmm"].operations]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ('{ op = "allocate", modes = ["COLLAPSE_RANGE"] }', "EOPNOTSUPP"),
        ('{ op = "punch", modes = ["ZERO_RANGE"], offset = -1, length = 1 }', "EINVAL"),
        ('{ op = "file_read", positioned = true }', "ESPIPE"),
        ('{ op = "file_read", positioned = true, offset = -1, length = 1 }', "EINVAL"),
        ('{ op = "file_write", value = "x", positioned = true }', "ESPIPE"),
        ('{ op = "mmap", map = "late", offset = 1, length = 4096 }', "EINVAL"),
        ('{ op = "mmap", map = "late", offset = 0, length = -1 }', "ENOMEM"),
        ('{ op = "madvise", offset = 1, length = 1 }', "EINVAL"),
        ('{ op = "madvise", offset = 0, length = 65536 }', "ENOMEM"),
        ('{ op = "madvise", advice = "HUGEPAGE" }', "ok"),
        ('{ op = "bind", slot = 0, raw = { size = 4097 } }', "EINVAL"),
        ('{ op = "bind", slot = 0, raw = { flags = ["bit9"] } }', "EINVAL"),
        ('{ op = "bind", slot = 0, raw = { other_file = true } }', "EINVAL"),
        ('{ op = "bind", slot = 0, raw = { v1 = true } }', "EINVAL"),
        ('{ op = "bind", slot = 0 }', "ok"),
        ('{ op = "set_attributes", private = true, flags = 1 }', "EINVAL"),
        ('{ op = "set_attributes", private = true, attributes = 16 }', "EINVAL"),
        ('{ op = "set_file_attributes", private = true, bad_pointer = true }', "ENOTTY"),
        ('{ op = "mbind", policy = "BIND", nodes = [1] }', "EINVAL"),
        ('{ op = "stat" }', "ok"),
    ],
)  # fmt: skip
def test_the_kernel_answers(op: str, expected: str) -> None:
    before = FILE + SLOT + "absent = true\n" + MAP + '[[map]]\nid = "late"\nabsent = true\n'
    assert outcomes(op.replace('"stat"', '"stat", file = "g"'), before) == [expected]


@pytest.mark.parametrize("word", ["attributes = 9", "reserved = [0, 1]", "flags = 1"])
def test_words_of_a_conversion(word: str) -> None:
    op = f'{{ op = "set_file_attributes", private = true, {word} }}'
    assert outcomes(op, FILE, "snp", "inplace") == ["EINVAL"]
    assert outcomes(op.replace(word, "bad_pointer = true"), FILE, "snp", "inplace") == ["EFAULT"]
    assert outcomes(op.replace(word, "attributes = 8, reserved = [0]"), FILE, "snp", "inplace") == ["ok"]


@pytest.mark.parametrize(
    "word", ["flags = 2", 'type = "bogus"', "address = 1, size = 4096", "address = 0, size = 0"]
)
def test_words_of_a_launch(word: str) -> None:
    before = FILE.replace('"MMAP", "INIT_SHARED"', "") + SLOT + "[setup]\nfinalize = false\n"
    assert outcomes(f'{{ op = "populate", source = "s", {word} }}', before, "snp") == ["EINVAL"]
    op = '{ op = "populate", source = "s" }'
    assert outcomes(op, before, "snp") == ["ok"]
    assert outcomes(op, before + "[[vm]]\nlaunch_started = false\n", "snp") == ["EINVAL"]


def test_what_fails_below_an_snp_launch_is_eio() -> None:
    """`snp_launch_update`; TDX passes the error on, and refuses an unaligned source itself."""
    before = FILE.replace('"MMAP", "INIT_SHARED"', "") + SLOT + "[setup]\nfinalize = false\n"
    gap = '{ op = "populate", source = "s", count = 1, unmapped = [0] }'
    assert outcomes(gap, before, "snp") == ["EIO"]
    before += '[[task]]\nrole = "vcpu"\nops = [{ op = "sleep", time = "1us" }]\n'
    assert outcomes(gap, before, "tdx") == ["EFAULT"]
    assert outcomes('{ op = "populate", source = "s", count = 1, offset = 8 }', before, "tdx") == ["EINVAL"]
    assert outcomes(gap, before + "[[vm]]\nvcpus_initialized = false\n", "tdx") == ["EINVAL"]


def test_a_child_has_copies_of_mappings_and_descriptors() -> None:
    """Nothing before the fork; its own afterwards, which the parent's munmap and close leave alone."""
    text = (
        FILE + MAP + '[[task]]\nname = "vmm"\nops = [{ op = "stat", file = "g" }, '
        '{ op = "host_write", value = "x", count = 1 }, { op = "barrier", '
        'barrier = "early" }, { op = "fork" }, { op = "munmap", map = "m" }, { op = "close", file = "g" }, '
        '{ op = "barrier", barrier = "late" }]\n[[task]]\nname = "son"\nprocess = "child"\nops = [{ op = "punch" }, '
        '{ op = "barrier", barrier = "early" }, { op = "barrier", barrier = "late" }, { op = "host_read", count = 1 }, '
        '{ op = "punch" }, { op = "host_read", count = 1 }, { op = "exit" }]\n'
    )
    session = run(text)
    results = session.results["son"].operations
    assert session.results["vmm"].operations[0].values == ("16384", "4096", "1")
    assert [r.outcome for r in results] == ["EBADF", "ok", "ok", "ok", "ok", "ok", "ok"]
    assert [r.values for r in results if r.op == "host_read"] == [("data:x",), ("zero",)]
    # Who exits last releases the file.
    assert not session.machine.world.inodes


def test_releases_come_last_in_an_exit() -> None:
    """exit_mm puts the last reference of g, exit_files that of h; exit_task_work releases both, the later one first."""
    text = (
        FILE + FILE.replace('"g"', '"h"') + MAP + MAP.replace('"m"', '"n"').replace('"g"', '"h"')
        + '[[task]]\nname = "vmm"\nops = [{ op = "fork" }, { op = "munmap", map = "m" }, { op = "munmap", map = "n" }, '
        '{ op = "close", file = "g" }, { op = "close", file = "h" }, { op = "barrier", barrier = "late" }]\n'
        '[[task]]\nname = "son"\nprocess = "child"\nops = [{ op = "barrier", barrier = "late" }, '
        '{ op = "close", file = "g" }, { op = "exit" }]\n'
    )  # fmt: skip
    seen: list[Discard | Close] = []

    def note(task: Task, event: object) -> None:
        if task.name == "son" and isinstance(event, Discard | Close):
            seen.append(event)

    options = Options(rec=note)
    build(loads(HEAD + text), "v3", "default", options=options).run()
    order = ["discard" if isinstance(event, Discard) else event.file for event in seen]
    assert order == ["discard", "discard", "h@vm0", "g@vm0"]


@pytest.mark.parametrize(
    ("patch", "convert"), [("mainline-7.3", "EIO"), ("baseline", "EIO"), ("inplace", "ok")]
)
def test_a_child_may_not_call_the_vm(patch: str, convert: str) -> None:
    """`kvm_vm_ioctl`: only the process that made the VM; a file's own ioctl and fallocate are open to all."""
    calls = (
        '{ op = "convert", private = true }, { op = "set_attributes", private = false }, '
        '{ op = "create", file = "late" }, { op = "bind", slot = 1 }, { op = "unbind", slot = 0 }, '
        '{ op = "launch_finish" }, { op = "check_extension", extension = "GUEST_MEMFD" }, { op = "punch", file = "g" }'
    )
    text = (
        '[scenario]\nname = "t"\nsummary = "t"\n[[file]]\nid = "g"\npages = 4\n[[file]]\nid = "late"\npages = 4\n'
        'absent = true\n[[slot]]\nfile = "g"\ngfn = 16\n[[slot]]\nid = 1\nfile = "late"\ngfn = 64\nabsent = true\n'
        '[[task]]\nname = "vmm"\nops = [{ op = "barrier", barrier = "early" }, { op = "fork" }, { op = "barrier", '
        'barrier = "forked" }]\n[[task]]\nname = "son"\nprocess = "child"\nops = [{ op = "unbind", slot = 0 }, '
        '{ op = "barrier", barrier = "early" }, { op = "barrier", barrier = "forked" }, ' + calls + "]\n"
    )
    session = build(loads(text), patch, "sw-protected").run()
    results = session.results["son"].operations
    # Before the fork it has no descriptor at all.
    assert results[0].outcome == "EBADF"
    assert [r.outcome for r in results[3:]] == [convert, *["EIO"] * 6, "ok"]


def test_forks_and_exits_that_make_no_sense() -> None:
    with pytest.raises(ScenarioError, match="exit needs a task of a process other than vmm"):
        outcomes('{ op = "exit" }')
    son = 'process = "child"\n'
    for ops, more in (
        ('{ op = "exit" }, { op = "stat", file = "g" }', son),
        ('{ op = "exit" }', f"{son}repeat = 2\n"),
    ):
        with pytest.raises(
            ScenarioError, match="exit ends the process; expected it as the last operation, in one"
        ):
            outcomes(ops, more=more)
    other = f'{FILE}[[task]]\nname = "other"\n{son}ops = [{{ op = "stat", file = "g" }}]\n'
    with pytest.raises(
        ScenarioError, match="exit of vmm kills other, which is not modelled; expected one task of"
    ):
        outcomes('{ op = "exit" }', other, more=son)
    with pytest.raises(ScenarioError, match="expected a process that there is not, got child"):
        outcomes('{ op = "fork" }, { op = "fork" }')
    with pytest.raises(ScenarioError, match="vCPUs are threads of vmm"):
        run(FILE + '[[task]]\nrole = "vcpu"\nprocess = "child"\nops = [{ op = "sleep", time = 1 }]\n')


def test_a_policy_places_pages_from_6_19_on() -> None:
    ops = (
        '{ op = "mbind", policy = "INTERLEAVE", nodes = [0, 1], start = 1 }, { op = "get_mempolicy" }, '
        '{ op = "get_mempolicy", start = 3 }, { op = "host_touch" }, { op = "move_pages" }'
    )
    text = f'{FILE}{MAP}[setup]\nnuma_nodes = 2\n[[task]]\nname = "vmm"\nops = [{ops}]\n'
    for patch, nodes in (("v3", ("0", "1", "0", "1")), ("baseline", ("0",) * 4)):
        results = run(text, patch=patch).results["vmm"].operations
        assert [result.values for result in results[1:3]] == [("DEFAULT",), ("INTERLEAVE", "0", "1")]
        assert results[4].values == nodes


def test_an_ordinary_buffer_is_what_the_guest_sees_at_its_slot() -> None:
    text = (
        '[[slot]]\npages = 4\nuserspace = "b"\nuserspace_start = 2\n[[task]]\nname = "vmm"\nops = [{ op = '
        '"host_write", buffer = "b", start = 3, value = "x" }, { op = "host_read", buffer = "b", start = 2, '
        'count = 2 }, { op = "barrier", barrier = "b" }]\n[[task]]\nrole = "vcpu"\nops = [{ op = "barrier", '
        'barrier = "b" }, { op = "read" }]\n'
    )
    session = run(text)
    assert session.results["vmm"].operations[1].values == ("zero", "data:x")
    assert session.results["vcpu0"].operations[1].values == ("zero", "data:x", "zero", "zero")
    with pytest.raises(ScenarioError, match="either a map or a buffer"):
        outcomes('{ op = "host_read", buffer = "b", map = "m" }', FILE + MAP)


@pytest.mark.parametrize("arch", ["snp", "tdx"])
def test_a_guest_that_accepts_when_it_must(arch: str) -> None:
    """Once for each page, which is zeros then; with `zap` the mapping is gone and the page is still accepted."""
    text = (
        '[[vm]]\naccept = "on_exception"\nchoices = { sept_ve_disable = false }\n'
        '[[file]]\nid = "g"\npages = 2\n[[slot]]\nfile = "g"\n[[task]]\nrole = "vcpu"\nops = [{ op = "read" }, '
        '{ op = "write", value = "x", count = 1 }, { op = "read" }]\n'
    )
    results = run(text, arch).results["vcpu0"]
    assert [r.values for r in results.operations] == [("zero", "zero"), (), ("data:x", "zero")]
    assert results.exits["exception"] == 2


def test_a_signal_before_the_guest_is_entered() -> None:
    ops = '{ op = "signal_pending" }, { op = "read" }, { op = "read" }'
    session = run(f'{FILE}{SLOT}[[task]]\nrole = "vcpu"\nops = [{ops}]\n')
    assert [r.outcome for r in session.results["vcpu0"].operations] == ["ok", "EINTR", "ok"]


def test_a_kernel_is_not_asked_for_what_the_runner_cannot_say() -> None:
    ops = (
        '{ op = "fork" }, { op = "punch", modes = ["ZERO_RANGE"] }, { op = "bind", slot = 0, raw = {} }, '
        '{ op = "set_file_attributes", private = true, offset = 0, length = 4096 }, { op = "punch", offset = 0, '
        "length = 4096 }"
    )
    text = f'{FILE}{SLOT}absent = true\n[[task]]\nname = "vmm"\nops = [{ops}]\n'
    found = refusals(loads(HEAD + text).resolve(), "default")
    assert [line.split(":")[0] for line in found] == [
        "fork", "modes of punch", "raw of bind", "offset of set_file_attributes"
    ]  # fmt: skip
