"""The initramfs: the runner as first process, the modules that a kernel needs for it, the program."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zstandard

from .errors import LabError
from .fetch import need
from .kernels import Kernel, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["archive", "build_runner", "initramfs", "modules_in_order"]

#: One of the vendors' does not load; hwpoison_inject for memory errors by frame.
_WANTED: Final = ("kvm_amd", "kvm_intel", "hwpoison_inject")
_OPEN: Final = {".xz": lzma.decompress, ".gz": gzip.decompress}


def build_runner(cache: Path | None = None) -> Path:
    """The runner, compiled from the sources in the package, once for each state of them.

    Raises:
        LabError: no compiler, or it does not compile.
    """
    sources = {
        item.name: item.read_bytes()
        for item in sorted(
            resources.files(__package__).joinpath("runner").iterdir(), key=lambda item: item.name
        )
        if item.name.endswith((".c", ".h"))
    }
    digest = hashlib.sha256(b"".join(name.encode() + text for name, text in sources.items())).hexdigest()[:16]
    folder = (cache or cache_folder()) / "runner"
    made = folder / digest
    if made.is_file():
        return made
    need("gcc")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, text in sources.items():
            (Path(scratch) / name).write_bytes(text)
        files = [name for name in sources if name.endswith(".c")]
        command = ["gcc", "-O2", "-static", "-pthread", "-o", "runner", *files]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line or "cannot find" in line]
            raise LabError(f"the runner does not compile: {(lines or ['gcc failed'])[0]}")
        (Path(scratch) / "runner").rename(made)
    return made


def modules_in_order(modules: Path, wanted: Iterable[str] = _WANTED) -> list[Path]:
    """Files of the modules and all that they need, those first on which others depend."""
    listed = modules / "modules.dep"
    text = listed.read_text(encoding="utf-8") if listed.is_file() else _depmod(modules)
    needs: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for line in text.splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
        names[_name(file)] = file
    order: dict[str, None] = {}
    for name in wanted:
        file = names.get(name, "")
        if file:
            # modules.dep lists what is needed in the order of removal.
            for other in [*reversed(needs[file]), file]:
                order[other] = None
    return [modules / file for file in order]


def _name(file: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", file.rpartition("/")[2]).replace("-", "_")


def _depmod(modules: Path) -> str:
    """modules.dep of a tree that was only unpacked; the tree stays as it is."""
    need("depmod")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "lib" / "modules"
        place.mkdir(parents=True)
        # A copy of links: depmod writes beside the modules.
        shutil.copytree(modules, place / modules.name, symlinks=True, copy_function=_link)
        depmod = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "depmod"
        done = subprocess.run(
            [depmod, "-b", scratch, modules.name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"depmod: {(done.stderr.splitlines() or ['it failed'])[-1]}")
        return (place / modules.name / "modules.dep").read_text(encoding="utf-8")


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).absolute())


def _plain(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw).read()
    return _OPEN.get(path.suffix, bytes)(raw)


def initramfs(kernel: Kernel, files: Mapping[str, bytes], cache: Path | None = None) -> bytes:
    """An initramfs for a kernel, with more files (name below / -> content).

    Raises:
        LabError: the runner cannot be built, or modules cannot be read.
    """
    everything: dict[str, bytes] = {"init": build_runner(cache).read_bytes(), **files}
    if kernel.modules is not None:
        order = modules_in_order(kernel.modules)
        if not order:
            raise LabError(f"{kernel.modules}: no module kvm_amd or kvm_intel in it")
        for path in order:
            everything[f"modules/{_name(path.name)}.ko"] = _plain(path)
        everything["modules/order"] = "".join(f"{_name(path.name)}.ko\n" for path in order).encode()
    return gzip.compress(archive(everything), 1)


def archive(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive of the kernel's kind (newc); folders are made as needed, every file can be executed."""
    parts: list[bytes] = []
    # The kernel opens /dev/console before it starts the first process.
    entries: list[tuple[str, int, bytes, int]] = [
        ("dev", 0o040755, b"", 0),
        ("dev/console", 0o020600, b"", 0x0501),
    ]
    made = {"dev"}
    for name, content in files.items():
        folder = name.rpartition("/")[0]
        while folder and folder not in made:
            made.add(folder)
            entries.append((folder, 0o040755, b"", 0))
            folder = folder.rpartition("/")[0]
        entries.append((name, 0o100755, content, 0))
    entries.sort(key=lambda entry: (entry[0].count("/") if entry[1] >> 12 == 4 else 99, entry[0]))
    entries.append(("TRAILER!!!", 0, b"", 0))
    for number, (name, mode, content, device) in enumerate(entries, 1):
        text = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, device >> 8, device & 255, len(text), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + text
        parts += [head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)]
    return b"".join(parts)
