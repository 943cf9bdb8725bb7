"""The reproducers compile without a warning, and the scripts are shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "reproducers"
PROGRAMS = sorted(FOLDER.glob("*.c"))
COMPILER = shutil.which("gcc") or shutil.which("cc")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_it_compiles(program: Path) -> None:
    assert COMPILER is not None
    done = subprocess.run(
        [COMPILER, "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_some() -> None:
    assert PROGRAMS


@pytest.mark.parametrize(
    "script", ["init", *(str(path.relative_to(FOLDER)) for path in sorted(FOLDER.rglob("*.sh")))]
)
def test_scripts_parse(script: str) -> None:
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no shell")
    assert subprocess.run([shell, "-n", str(FOLDER / script)], check=False).returncode == 0


def test_mended_modules_take_the_place_of_the_kernels(tmp_path: Path) -> None:
    modules = tmp_path / "kernel" / "usr" / "lib" / "modules" / "7.3.4"
    for name, text in (
        ("vmlinuz", "image"),
        ("kvm/kvm.ko.xz", "old"),
        ("kvm/kvmgt.ko.xz", "other"),
        ("modules.dep", ""),
    ):
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).write_text(text)
    made = tmp_path / "made"
    made.mkdir()
    (made / "kvm.ko").write_text("mended")
    command = [FOLDER / "mend" / "tree.sh", tmp_path / "kernel", made, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    there = tmp_path / "out" / "usr" / "lib" / "modules" / "7.3.4"
    assert done.stdout.strip() == str(there / "vmlinuz")
    assert (there / "kvm" / "kvm.ko").read_text() == "mended"
    assert sorted(path.name for path in (there / "kvm").iterdir()) == ["kvm.ko", "kvmgt.ko.xz"]
    assert not (there / "modules.dep").exists()
    # The kernel that it was made from is as it was.
    assert (modules / "kvm" / "kvm.ko.xz").read_text() == "old"
    assert (modules / "modules.dep").exists()
    (made / "none.ko").write_text("")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_the_edit_of_another_file_writes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "guest_memfd.c"
    source.write_text("struct gmem_inode {\n\tstruct list_head files;\n};\n")
    script = FOLDER / "mend" / "edit_bindings_lock.py"
    done = subprocess.run([sys.executable, script, source], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "kvm_gmem_alloc_inode" in done.stderr
    assert "bindings_lock" not in source.read_text()


def test_the_edit_returns_before_the_comparison(tmp_path: Path) -> None:
    head = (
        "static int tdp_mmu_map_handle_target_level(struct kvm_vcpu *vcpu,\n\t\t\tstruct tdp_iter *iter)\n{\n"
    )
    there = "\t\tWARN_ON_ONCE(fault->pfn != spte_to_pfn(iter->old_spte));\n\t\treturn RET_PF_SPURIOUS;\n"
    script = FOLDER / "mend" / "edit_noslot_leaf.py"
    source = tmp_path / "tdp_mmu.c"
    source.write_text(f"{head}{there}}}\n")
    subprocess.run([sys.executable, script, source], check=True)
    assert source.read_text() == f"{head}\t\tif (!fault->slot)\n\t\t\treturn RET_PF_RETRY;\n{there}}}\n"
    other = f"{head}}}\n{there}"
    source.write_text(other)
    done = subprocess.run([sys.executable, script, source], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert source.read_text() == other


def test_the_edit_loads_the_root_before_each_try(tmp_path: Path) -> None:
    head = "static int kvm_tdp_page_prefault(struct kvm_vcpu *vcpu, gpa_t gpa,\n\t\t\t\t u64 error_code)\n{\n\tdo {\n"
    there = (
        "\t\tr = kvm_mmu_do_page_fault(vcpu, gpa, error_code, true, NULL);\n\t} while (r == RET_PF_RETRY);\n"
    )
    script = FOLDER / "mend" / "edit_prefault_reload.py"
    source = tmp_path / "mmu.c"
    source.write_text(f"{head}{there}}}\n")
    subprocess.run([sys.executable, script, source], check=True)
    load = "\t\tr = kvm_mmu_reload(vcpu);\n\t\tif (r)\n\t\t\treturn r;\n\n"
    assert source.read_text() == f"{head}{load}{there}}}\n"
    # No other function that repeats a fault is touched.
    other = f"{head}}}\nstatic int kvm_tdp_map_page(struct kvm_vcpu *vcpu)\n{{\n{there}}}\n"
    source.write_text(other)
    done = subprocess.run([sys.executable, script, source], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert source.read_text() == other


def test_each_edit_says_which_file_it_is_for() -> None:
    for script in (FOLDER / "mend").glob("edit_*.py"):
        assert (
            sum(line.startswith('FILE = "') for line in script.read_text(encoding="utf-8").splitlines()) == 1
        )
