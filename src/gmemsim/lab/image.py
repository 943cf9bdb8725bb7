"""What comes into the guest: the runner, the modules that a kernel needs for it, the program; and as an initramfs."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from .errors import LabError
from .fetch import need
from .kernels import Kernel, cache_folder
from .modules import module_name, module_text, module_tree, modules_in_order


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


def guest_files(kernel: Kernel, files: Mapping[str, bytes], cache: Path | None = None) -> dict[str, bytes]:
    """All that the runner needs in the guest, itself as `init`: name below its folder -> content.

    Args:
        files: more of them.

    Raises:
        LabError: the runner cannot be built, or modules cannot be read.
    """
    everything: dict[str, bytes] = {"init": build_runner(cache).read_bytes(), **files}
    if kernel.modules is not None:
        order = modules_in_order(module_tree(kernel, cache) / "lib" / "modules" / kernel.release)
        if not order:
            raise LabError(f"{kernel.modules}: no module kvm_amd or kvm_intel in it")
        for path in order:
            everything[f"modules/{module_name(path.name)}.ko"] = module_text(path)
        everything["modules/order"] = "".join(f"{module_name(path.name)}.ko\n" for path in order).encode()
    return everything


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
