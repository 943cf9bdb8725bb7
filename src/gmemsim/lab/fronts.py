"""Two ways to boot a kernel with the runner: virtme-ng, with this machine's root, and a small initramfs of our own."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import LabError
from .image import archive
from .modules import module_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .kernels import Kernel
    from .machine import Machine

FRONTS: Final = ("auto", "virtme-ng", "initramfs")
#: Grace periods are expedited: making and ending a VM waits for several.
_APPEND: Final = "mitigations=off nokaslr no_timer_check psi=0 rcupdate.rcu_expedited=1 loglevel=5"
#: Where the runner's folder is in a guest of virtme-ng, whose /run is empty.
_GUEST_FOLDER: Final = "/run/gmemsim"
#: What virtme-ng calls besides itself.
_CALLED: Final = {"busybox": "busybox-static", "file": "file", "setpriv": "util-linux"}


def virtme_missing() -> str:
    """What virtme-ng lacks here; empty: nothing."""
    if _virtme() is None:
        return "virtme-ng is not installed (pip install 'gmemsim[lab]')"
    lacking = [package for program, package in _CALLED.items() if shutil.which(program) is None]
    return f"virtme-ng needs apt-get install {' '.join(lacking)}" if lacking else ""


def _virtme() -> str | None:
    """`virtme-run` of virtme-ng, beside this Python or on PATH."""
    return shutil.which("virtme-run", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def virtme_name() -> str:
    """`virtme-ng 1.42`."""
    program = _virtme()
    vng = None if program is None else Path(program).with_name("vng")
    if vng is None or not vng.is_file():
        return "virtme-ng"
    done = subprocess.run([str(vng), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return f"virtme-ng {found[0]}" if found else "virtme-ng"


def front_of(machine: Machine, kernel: Kernel) -> tuple[str, str]:
    """The front that a machine is booted with, and why it is not virtme-ng, if it is not.

    Raises:
        LabError: virtme-ng was asked for and cannot be used.
    """
    if machine.front == "initramfs":
        return "initramfs", ""
    why = virtme_missing()
    if not why and kernel.modules is None:
        why = "virtme-ng needs the kernel's folder of modules"
    if why and machine.front == "virtme-ng":
        raise LabError(why)
    return ("initramfs", why) if why else ("virtme-ng", "")


def prepare(
    machine: Machine, kernel: Kernel, files: Mapping[str, bytes], folder: Path, cache: Path | None
) -> list[str]:
    """Write what is booted into `folder`, and the command that boots it: results come through the pipe `results` there.

    Args:
        files: of `guest_files`.

    Raises:
        LabError: see `front_of`.
    """
    front, _ = front_of(machine, kernel)
    accel, cpu = ("kvm", "host") if machine.accel == "kvm" else ("tcg,thread=multi", "EPYC,+svm,+npt")
    # virtme-ng says itself that there is KVM, and QEMU takes it from one place only.
    said = ["-accel", accel, "-cpu", cpu] if front == "initramfs" or machine.accel == "tcg" else []
    qemu = [
        *said, "-serial", f"pipe:{folder / 'results'}",
        *(["-gdb", f"unix:{folder / 'debugger'},server=on,wait=off"] if machine.debug else []),
    ]  # fmt: skip
    return (_virtme_ng if front == "virtme-ng" else _initramfs)(machine, kernel, files, folder, cache, qemu)


def _initramfs(
    machine: Machine,
    kernel: Kernel,
    files: Mapping[str, bytes],
    folder: Path,
    _cache: Path | None,
    qemu: list[str],
) -> list[str]:
    image = folder / "initramfs"
    image.write_bytes(gzip.compress(archive(files), 1))
    return [
        "qemu-system-x86_64", "-smp", str(machine.cpus), "-m", str(machine.memory), *_nodes(machine),
        "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults", "-serial", "stdio", *qemu,
        "-kernel", str(kernel.vmlinuz), "-initrd", str(image),
        "-append", f"console=ttyS0 panic=-1 {_APPEND} rdinit=/init",
    ]  # fmt: skip


def _nodes(machine: Machine) -> list[str]:
    """CPUs and memory in equal parts, a part a node."""
    if machine.nodes == 1:
        return []
    arguments = []
    for node, (memory, cpus) in enumerate(_parts(machine)):
        arguments += ["-object", f"memory-backend-ram,id=node{node},size={memory}M"]
        arguments += ["-numa", f"node,nodeid={node},memdev=node{node},cpus={cpus}"]
    return arguments


def _parts(machine: Machine) -> list[tuple[int, str]]:
    """Memory in MiB and CPUs of each node."""
    cpus, memory = machine.cpus // machine.nodes, machine.memory // machine.nodes
    return [(memory, f"{node * cpus}-{(node + 1) * cpus - 1}") for node in range(machine.nodes)]


def _virtme_ng(
    machine: Machine,
    kernel: Kernel,
    files: Mapping[str, bytes],
    folder: Path,
    cache: Path | None,
    qemu: list[str],
) -> list[str]:
    """virtme-run, which `vng` calls too, is told everything; it starts QEMU as a process of its own."""
    program = _virtme()
    assert program is not None  # front_of looked
    guest = folder / "guest"
    for name, content in files.items():
        path = guest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    # Linux ends QEMU when virtme-run is killed.
    ours = folder / "qemu"
    ours.write_text('#!/bin/sh\nexec setpriv --pdeathsig KILL qemu-system-x86_64 "$@"\n', encoding="utf-8")
    ours.chmod(0o755)
    image = module_tree(kernel, cache) / "lib" / "modules" / kernel.release / "vmlinuz"
    nodes = [f"--numa={memory}M,cpus={cpus}" for memory, cpus in _parts(machine) if machine.nodes > 1]
    return [
        program, "--kimg", str(image), "--mods", "auto", *(["--disable-kvm"] if machine.accel == "tcg" else []),
        "--disable-microvm", "--force-9p", "--cpus", str(machine.cpus), "--memory", f"{machine.memory}M", *nodes,
        "--qemu-bin", str(ours), "--rodir", f"{_GUEST_FOLDER}={guest}", "--show-boot-console",
        *(f"--kopt={word}" for word in _APPEND.split()),
        "--script-sh", f"{_GUEST_FOLDER}/init {_GUEST_FOLDER}", "--qemu-opts", *qemu,
    ]  # fmt: skip
