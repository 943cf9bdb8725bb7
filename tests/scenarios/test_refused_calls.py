"""What guest_memfd refuses is refused by the call, not by the format; and memory that nobody made private."""

import pytest

from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import Session, build

HEAD = '[scenario]\nname = "x"\nsummary = "s"\n'
FILE = '[[file]]\nid = "g"\npages = 2\n'


def run(text: str, arch: str, patch: str, release: str | None = None) -> Session:
    return build(loads(HEAD + text), patch, arch, release=release).run()


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3", "inplace"])
@pytest.mark.parametrize("arch", ["default", "sw-protected", "snp", "tdx"])
def test_every_version_refuses_the_same_calls(patch: str, arch: str) -> None:
    session = build(load_named("zoo-refused_calls"), patch, arch, small=True).run()
    assert not session.violations


@pytest.mark.parametrize("key", ["readonly", "log_dirty"])
@pytest.mark.parametrize("arch", ["default", "snp"])
def test_flags_beside_a_file(key: str, arch: str) -> None:
    text = f'{FILE}[[slot]]\nfile = "g"\n{key} = true\n[[task]]\nname = "vmm"\nops = [{{ op = "punch" }}]\n'
    with pytest.raises(ScenarioError, match="KVM_SET_USER_MEMORY_REGION2 returned EINVAL"):
        run(text, arch, "v3")


def test_ordinary_slots_may_have_them_where_registers_are_not_protected() -> None:
    text = f'{FILE}[[slot]]\npages = 2\n%s = true\n[[task]]\nname = "vmm"\nops = [{{ op = "punch" }}]\n'
    assert not run(text % "log_dirty", "snp", "v3").violations
    assert not run(text % "readonly", "default", "v3").violations
    with pytest.raises(ScenarioError, match="EINVAL"):
        run(text % "readonly", "snp", "v3")


@pytest.mark.parametrize(
    "op", ['"touch", write = "x"', '"write", value = "x"', '"write", value = "x", gfn = 0x10001']
)
def test_a_store_to_a_read_only_slot_is_refused_by_name(op: str) -> None:
    """On a kernel it leaves to the VMM as MMIO; loads are as in any slot."""
    text = (
        "[[slot]]\nid = 3\ngfn = 0x10000\npages = 2\nreadonly = true\n"
        '[[task]]\nrole = "vcpu"\nops = [{ op = "read" }, { op = %s }]\n'
    )
    with pytest.raises(ScenarioError, match="a store to the read-only slot 3: not modelled"):
        loads(HEAD + text % op).resolve()
    assert not run(text % '"touch"', "default", "v3").violations


def test_the_default_type_has_no_such_slots_in_6_12() -> None:
    text = f'{FILE}flags = []\n[[slot]]\nfile = "g"\n[[task]]\nname = "vmm"\nops = [{{ op = "punch" }}]\n'
    assert not run(text, "sw-protected", "baseline", "6.12").violations
    assert not run(text, "default", "baseline", "6.18").violations
    with pytest.raises(ScenarioError, match="EINVAL"):
        run(text, "default", "baseline", "6.12")


@pytest.mark.parametrize("patch", ["v3", "mainline-7.3", "inplace-v8", "inplace"])
@pytest.mark.parametrize("arch", ["snp", "tdx"])
def test_nobody_made_it_private(patch: str, arch: str) -> None:
    """Per VM nothing is private until it is made so; per file the VMM has to share what starts private."""
    text = (
        f'{FILE}[[slot]]\nfile = "g"\n[[vm]]\non_memory_fault = "stop"\n[setup]\nprivate = "%s"\n'
        '[[task]]\nrole = "vcpu"\nops = [{ op = "touch", private = true }]\n'
    )
    (none,) = run(text % "none", arch, patch).results["vcpu0"].operations
    (auto,) = run(text % "auto", arch, patch).results["vcpu0"].operations
    assert (none.outcome, auto.outcome) == ("exit_memory_fault", "ok")


LAUNCH = (
    f'{FILE}[[slot]]\nfile = "g"\ngfn = 0x10000\n[[task]]\nrole = "vcpu"\n'
    'ops = [{ op = "populate", source = "x" }, { op = "launch_finish" }]\n'
)


@pytest.mark.parametrize(
    ("arch", "answers"),
    [
        ("default", ["EINVAL", "ENOTTY"]),
        ("sw-protected", ["EINVAL", "ENOTTY"]),
        ("snp", ["EIO", "EINVAL"]),
        ("tdx", ["EINVAL", "EINVAL"]),
    ],
)
def test_commands_of_a_launch_that_there_is_not_or_not_any_more(arch: str, answers: list[str]) -> None:
    """snp_launch_update and snp_launch_finish tell VM types apart with -EINVAL and -ENOTTY."""
    session = run(LAUNCH, arch, "mainline-7.3")
    assert [done.outcome for done in session.results["vcpu0"].operations] == answers


def test_memory_has_no_shared_address_of_tdx() -> None:
    """GPA bit 47: no slot reaches there, no pre-fault and no launch (kvm_is_gfn_alias, vt_is_tdx_private_gpa)."""
    slot = LAUNCH.replace("0x10000", "0x7_ffff_ffff")
    with pytest.raises(ScenarioError, match="EINVAL"):
        run(slot, "tdx", "mainline-7.3")
    session = run(
        LAUNCH.replace(
            '{ op = "populate", source = "x" }', '{ op = "prefault", gfn = 0x8_0001_0000, count = 1 }'
        ),
        "tdx",
        "mainline-7.3",
    )
    assert session.results["vcpu0"].operations[0].outcome == "EINVAL"


def test_the_second_address_space_is_refused_by_name() -> None:
    text = '[[slot]]\nid = 0x10001\npages = 2\n[[task]]\nname = "vmm"\nops = [{ op = "sleep", time = 0 }]\n'
    with pytest.raises(
        ScenarioError, match=r"slot\[0\].id: expected less than 32764; the address space of SMM"
    ):
        run(text, "default", "v3")
    with pytest.raises(ScenarioError, match="EINVAL"):
        run(text, "snp", "v3")


@pytest.mark.parametrize(
    ("arch", "op", "answer"),
    [
        ("snp", '{ op = "hypercall", private = false }', "exit_fail_entry"),
        ("tdx", '{ op = "hypercall", private = false }', "EINVAL"),
        ("snp", '{ op = "page_state_change", private = false }', "exit_fail_entry"),
        ("snp", '{ op = "write", value = "x" }', "exit_fail_entry"),
        ("tdx", '{ op = "accept" }', "EINVAL"),
        ("snp", '{ op = "create_ap" }', "exit_fail_entry"),
    ],
)
@pytest.mark.parametrize("patch", ["v3", "inplace"])
def test_no_guest_does_anything_before_the_end_of_its_launch(
    patch: str, arch: str, op: str, answer: str
) -> None:
    """Whether it is a fault or an instruction that leaves to the VMM: nothing of it has happened."""
    text = (
        f'{FILE}[[slot]]\nfile = "g"\ngfn = 0x10000\n[setup]\nfinalize = false\n[[task]]\nrole = "vcpu"\n'
        f'ops = [{op}, {{ op = "launch_finish" }}]\n'
    )
    session = run(text, arch, patch)
    first = session.results["vcpu0"].operations[0]
    assert first.outcome == answer
    assert not session.violations
    assert not session.machine.inodes[0].folios
