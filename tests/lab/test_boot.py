"""What is booted: kernels by name and path, the initramfs, QEMU's arguments; and a boot, where there is a kernel."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from gmemsim.lab.errors import LabError
from gmemsim.lab.fetch import missing_tools
from gmemsim.lab.image import archive, modules_in_order
from gmemsim.lab.kernels import Kernel, fetched_kernels, find_kernel
from gmemsim.lab.machine import Machine, command_line
from gmemsim.lab.reproduce import SCENES, expected, scene_of
from gmemsim.lab.runs import run_programs
from gmemsim.lab.translate import Steering, translate
from gmemsim.lab.versions import release_of, version_of
from gmemsim.scenarios.catalogue import load_named


def fake_kernel(root: Path, release: str) -> Path:
    place = root / "lib" / "modules" / release
    (place / "kernel").mkdir(parents=True)
    image = bytearray(0x1000)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x400).to_bytes(2, "little")
    image[0x600 : 0x600 + len(release) + 4] = release.encode() + b" #1 "
    (place / "vmlinuz").write_bytes(image)
    return place / "vmlinuz"


def test_kernels_are_found_by_release_its_beginning_or_path(tmp_path: Path) -> None:
    for release in ("7.3.4+deb13-amd64", "7.3.40+deb13-amd64", "6.18.15+deb13-amd64"):
        image = fake_kernel(tmp_path / "kernels" / release, release)
        assert find_kernel(str(image)).release == release
    found = find_kernel("7.3.4", tmp_path)
    assert (found.release, found.version, found.series) == ("7.3.4+deb13-amd64", "7.3.4", (7, 3))
    assert found.modules == found.vmlinuz.parent
    assert find_kernel("6.18", tmp_path).version == "6.18.15"
    with pytest.raises(LabError, match="several kernels begin with 7"):
        find_kernel("7", tmp_path)
    with pytest.raises(LabError, match=r"no kernel 5 is fetched \(there: 6.18"):
        find_kernel("5", tmp_path)
    with pytest.raises(LabError, match="no such kernel image"):
        find_kernel(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no kernel")
    with pytest.raises(LabError, match="expected a bzImage"):
        find_kernel(str(tmp_path / "text"))


def test_versions_of_kernels() -> None:
    def kernel(release: str) -> Kernel:
        return Kernel(release, Path("x"), None)

    assert [version_of(kernel(r)) for r in ("6.12.1", "6.18.15+deb13-amd64", "7.2.13", "7.3.4", "7.4.0")] == [
        "baseline", "baseline", "v3", "mainline-7.3", "mainline-7.3",
    ]  # fmt: skip
    assert release_of(kernel("6.18.15")) == "6.18"
    with pytest.raises(LabError, match="give --patch"):
        version_of(kernel("7.0.1"))


def test_modules_come_after_those_that_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/kvm.ko.xz: kernel/irq.ko.xz kernel/base.ko\nkernel/kvm-amd.ko.xz: kernel/kvm.ko.xz kernel/irq.ko.xz "
        "kernel/base.ko\nkernel/irq.ko.xz: kernel/base.ko\nkernel/base.ko:\n"
    )
    order = [path.name for path in modules_in_order(tmp_path, ["kvm_amd"])]
    assert order == ["base.ko", "irq.ko.xz", "kvm.ko.xz", "kvm-amd.ko.xz"]


def test_the_archive_is_one_that_cpio_reads() -> None:
    made = archive({"init": b"abc", "modules/a/b.ko": b"12345"})
    assert made.startswith(b"070701")
    assert len(made) % 4 == 0
    names = (b"dev", b"modules", b"modules/a", b"dev/console", b"init", b"modules/a/b.ko")
    places = [made.index(name + b"\0") for name in names]
    assert places == sorted(places)
    try:
        done = subprocess.run(["cpio", "-t"], input=made, capture_output=True, check=False)
    except FileNotFoundError:
        return
    assert done.stdout.split() == [
        b"dev",
        b"modules",
        b"modules/a",
        b"dev/console",
        b"init",
        b"modules/a/b.ko",
    ]


def test_qemu_is_told_what_was_asked_for() -> None:
    line = command_line(Machine(cpus=2, memory=512), Path("k"), Path("i"), Path("r"))
    assert line[:3] == ["qemu-system-x86_64", "-accel", "tcg,thread=multi"]
    assert ("-smp", "2") in pairwise(line)
    assert command_line(Machine(accel="kvm"), Path("k"), Path("i"), Path("r"))[2] == "kvm"


def test_scenes_are_scenarios_of_findings_and_know_their_kernels() -> None:
    for name, scene in SCENES.items():
        program = translate(scene.scenario().resolve(), "default", madvise=scene.madvise)
        known = {expected(name, Kernel(f"{version}+deb", Path("x"), None)) for version in ("7.2.13", "7.3.4")}
        assert "confirmed" in known
        assert scene.shows == "hang" or "WARNING" in scene.shows or len(scene.shows.split(":")) == 3
        assert {block.task for plan in scene.plans for block in plan.blocks} <= set(program.tasks)
    assert expected("unbind-during-memory-failure", Kernel("7.3.9", Path("x"), None)) == "fixed in"
    with pytest.raises(LabError, match="no finding"):
        scene_of("nothing")
    with pytest.raises(LabError, match="has no scene"):
        scene_of("tdx-removal-failure")


@pytest.mark.long
def test_a_kernel_comes_to_outcomes_of_the_model() -> None:
    kernels = [kernel for kernel in fetched_kernels() if kernel.series >= (6, 18)]
    if missing_tools() or not kernels:
        pytest.skip("no QEMU, no compiler or no kernel: gmemsim lab setup")
    program = translate(load_named("hole").resolve(small=True), "default")
    runs = run_programs(kernels[-1], [program], Steering(rounds=5))
    assert runs.boots == ["off"]
    (run,) = runs.runs
    assert run.rounds == 5
    assert sum(run.results.values()) == 5
    assert all(call.outcome == "ok" for result in run.results for task in result.tasks for call in task)


@pytest.mark.long
def test_ctrl_c_ends_qemu_and_keeps_what_came() -> None:
    kernels = [kernel for kernel in fetched_kernels() if kernel.series >= (6, 18)]
    if missing_tools() or not kernels:
        pytest.skip("no QEMU, no compiler or no kernel: gmemsim lab setup")
    command = [sys.executable, "-m", "gmemsim", "lab", "run", "hole", "--kernel", str(kernels[-1].vmlinuz)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("booting ")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (found := children.read_text().split()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0 rounds" in output
    for child in found:
        stat = Path(f"/proc/{child}/stat")
        # A container's first process may leave it unburied, but it does not run.
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
