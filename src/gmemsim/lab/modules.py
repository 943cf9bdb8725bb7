"""Modules of a kernel: a tree of links that has modules.dep, made once, and what to load in which order."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

import zstandard

from .errors import LabError
from .fetch import need
from .kernels import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .kernels import Kernel

#: One of the vendors' does not load; hwpoison_inject for memory errors by frame.
_WANTED: Final = ("kvm_amd", "kvm_intel", "hwpoison_inject")
_OPEN: Final = {".xz": lzma.decompress, ".gz": gzip.decompress}


def module_tree(kernel: Kernel, cache: Path | None = None) -> Path:
    """A root folder with lib/modules/RELEASE as `depmod` leaves it, of links, and the image as `vmlinuz` in that.

    Packages that were only unpacked have no modules.dep. It is made here, once, as depmod reads every module, which
    takes as long as a boot; the tree of the modules itself stays as it is.

    Raises:
        LabError: the kernel has no modules, or depmod fails.
    """
    if kernel.modules is None:
        raise LabError(f"{kernel.release}: no folder of modules")
    files = sorted(path for path in kernel.modules.rglob("*") if path.is_file())
    states = [(path, path.stat()) for path in (kernel.vmlinuz, *files)]
    seen = "".join(f"{path} {state.st_size} {state.st_mtime_ns}\n" for path, state in states)
    trees = (cache or cache_folder()) / "trees"
    root = trees / hashlib.sha256(seen.encode()).hexdigest()[:16]
    if root.is_dir():
        return root
    trees.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=trees) as scratch:
        made = trees / scratch / "root"
        place = made / "lib" / "modules" / kernel.release
        place.mkdir(parents=True)
        for entry in kernel.modules.iterdir():
            (place / entry.name).symlink_to(entry.absolute())
        if not (place / "vmlinuz").exists():
            (place / "vmlinuz").symlink_to(kernel.vmlinuz.absolute())
        if not (place / "modules.dep").is_file():
            _depmod(made, kernel.release)
        # Another process may have made it meanwhile: they are the same.
        if not root.is_dir():
            made.rename(root)
    return root


def _depmod(root: Path, release: str) -> None:
    need("depmod")
    depmod = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "depmod"
    done = subprocess.run([depmod, "-b", str(root), release], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"depmod: {(done.stderr.splitlines() or ['it failed'])[-1]}")


def modules_in_order(modules: Path, wanted: Iterable[str] = _WANTED) -> list[Path]:
    """Files of the modules and all that they need, those first on which others depend, as modules.dep has it."""
    needs: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for line in (modules / "modules.dep").read_text(encoding="utf-8").splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
        names[module_name(file)] = file
    order: dict[str, None] = {}
    for name in wanted:
        file = names.get(name, "")
        if file:
            # modules.dep lists what is needed in the order of removal.
            for other in [*reversed(needs[file]), file]:
                order[other] = None
    return [modules / file for file in order]


def module_name(file: str) -> str:
    """`kvm_amd` of `kernel/arch/x86/kvm/kvm-amd.ko.xz`."""
    return re.sub(r"\.ko(\.\w+)?$", "", file.rpartition("/")[2]).replace("-", "_")


def module_text(path: Path) -> bytes:
    """The module itself, however it is compressed."""
    raw = path.read_bytes()
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw).read()
    return _OPEN.get(path.suffix, bytes)(raw)
