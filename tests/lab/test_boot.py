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
from gmemsim.lab.fronts import front_of, prepare, virtme_missing
from gmemsim.lab.image import archive
from gmemsim.lab.kernels import Kernel, fetched_kernels, find_kernel
from gmemsim.lab.machine import Machine
from gmemsim.lab.modules import module_tree, modules_in_order
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


def test_a_tree_of_modules_is_made_once_and_leaves_theirs_as_it_is(tmp_path: Path) -> None:
    kernel = find_kernel(str(fake_kernel(tmp_path / "unpacked", "7.3.4")))
    assert kernel.modules is not None
    (kernel.modules / "modules.dep").write_text("kernel/kvm.ko:\n")
    before = sorted(tmp_path.rglob("*"))
    root = module_tree(kernel, tmp_path / "cache")
    place = root / "lib" / "modules" / "7.3.4"
    assert (place / "modules.dep").read_text() == "kernel/kvm.ko:\n"
    assert (place / "vmlinuz").resolve() == kernel.vmlinuz.resolve()
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    assert module_tree(kernel, tmp_path / "cache") == root
    # Modules that were built anew have another tree.
    (kernel.modules / "kernel" / "kvm.ko").write_text("new")
    assert module_tree(kernel, tmp_path / "cache") != root
    with pytest.raises(LabError, match="no folder of modules"):
        module_tree(Kernel("7.3.4", kernel.vmlinuz, None))


def test_qemu_is_told_what_was_asked_for(tmp_path: Path) -> None:
    kernel = Kernel("7.3.4", Path("k"), None)
    line = prepare(Machine(cpus=2, memory=512), kernel, {"init": b"x"}, tmp_path, None)
    assert ("-accel", "tcg,thread=multi") in pairwise(line)
    assert ("-smp", "2") in pairwise(line)
    assert "-numa" not in line
    assert (tmp_path / "initramfs").is_file()
    line = prepare(Machine(accel="kvm", nodes=2), kernel, {}, tmp_path, None)
    assert ("-accel", "kvm") in pairwise(line)
    assert [word for word in line if word.startswith("node,")] == [
        "node,nodeid=0,memdev=node0,cpus=0-1",
        "node,nodeid=1,memdev=node1,cpus=2-3",
    ]


def test_virtme_ng_is_taken_where_it_is_and_the_initramfs_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gmemsim.lab.fronts.virtme_missing", lambda: "it is not there")
    kernel = find_kernel(str(fake_kernel(tmp_path, "7.3.4")))
    assert front_of(Machine(front="auto"), kernel) == ("initramfs", "it is not there")
    with pytest.raises(LabError, match="it is not there"):
        front_of(Machine(front="virtme-ng"), kernel)
    monkeypatch.setattr("gmemsim.lab.fronts.virtme_missing", lambda: "")
    monkeypatch.setattr("gmemsim.lab.fronts._virtme", lambda: "/opt/virtme-run")
    assert front_of(Machine(front="auto"), kernel) == ("virtme-ng", "")
    assert front_of(Machine(front="initramfs"), kernel) == ("initramfs", "")
    assert front_of(Machine(front="auto"), Kernel("7.3.4", Path("k"), None))[0] == "initramfs"
    assert kernel.modules is not None
    (kernel.modules / "modules.dep").write_text("")
    files = {"init": b"x", "modules/order": b""}
    line = prepare(Machine(front="auto", nodes=2), kernel, files, tmp_path, tmp_path / "cache")
    assert line[0] == "/opt/virtme-run"
    assert "--disable-kvm" in line
    assert ("--script-sh", "/run/gmemsim/init /run/gmemsim") in pairwise(line)
    assert [word for word in line if word.startswith("--numa")] == [
        "--numa=1024M,cpus=0-1",
        "--numa=1024M,cpus=2-3",
    ]
    assert ("-accel", "tcg,thread=multi") in pairwise(line)
    assert (tmp_path / "guest" / "modules" / "order").is_file()
    line = prepare(Machine(front="auto", accel="kvm"), kernel, files, tmp_path, tmp_path / "cache")
    assert "--disable-kvm" not in line
    assert "-accel" not in line


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
@pytest.mark.parametrize("front", ["initramfs", "virtme-ng"])
def test_a_kernel_comes_to_outcomes_of_the_model(front: str) -> None:
    kernels = [kernel for kernel in fetched_kernels() if kernel.series >= (6, 18)]
    if missing_tools() or not kernels:
        pytest.skip("no QEMU, no compiler or no kernel: gmemsim lab setup")
    if front == "virtme-ng" and virtme_missing():
        pytest.skip(virtme_missing())
    program = translate(load_named("hole").resolve(small=True), "default")
    runs = run_programs(kernels[-1], [program], Steering(rounds=5), machine=Machine(front=front))
    assert runs.front.startswith(front)
    assert runs.boots == ["off"]
    (run,) = runs.runs
    assert run.rounds == 5
    assert sum(run.results.values()) == 5
    assert all(call.outcome == "ok" for result in run.results for task in result.tasks for call in task)


@pytest.mark.long
@pytest.mark.parametrize("front", ["initramfs", "virtme-ng"])
def test_ctrl_c_ends_qemu_and_keeps_what_came(front: str) -> None:
    kernels = [kernel for kernel in fetched_kernels() if kernel.series >= (6, 18)]
    if missing_tools() or not kernels:
        pytest.skip("no QEMU, no compiler or no kernel: gmemsim lab setup")
    if front == "virtme-ng" and virtme_missing():
        pytest.skip(virtme_missing())
    command = [
        sys.executable, "-m", "gmemsim", "lab", "run", "hole", "--kernel", str(kernels[-1].vmlinuz), "--front", front,
    ]  # fmt: skip
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
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        # A container's first process may leave it unburied, but it does not run.
        assert session not in found or state == "Z"
