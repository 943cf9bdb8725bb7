"""Kernels to boot: found by name in the lab's folder, or given by the path of a vmlinuz with its modules."""

from __future__ import annotations

import os
import re
from pathlib import Path

import attrs

from .errors import LabError

#: Offset of the version's address in the header of a bzImage, and of the header's magic (boot protocol 2.00).
_VERSION_AT = 0x20E
_MAGIC_AT = 0x202


@attrs.frozen
class Kernel:
    """A kernel that can be booted.

    Attributes:
        release: as `uname -r` says it, `7.3.4+deb13-amd64`.
        modules: its folder below lib/modules; None: there is none, everything has to be built in.
    """

    release: str
    vmlinuz: Path
    modules: Path | None

    @property
    def version(self) -> str:
        """`7.3.4`."""
        found = re.match(r"\d+\.\d+(?:\.\d+)?", self.release)
        return found[0] if found else self.release

    @property
    def series(self) -> tuple[int, int]:
        """`(7, 3)`; (0, 0) where the release does not begin with numbers."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def cache_folder() -> Path:
    """Where kernels and what is built from them are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "gmemsim" / "lab"


def fetched_kernels(cache: Path | None = None) -> list[Kernel]:
    """Kernels in the lab's folder, by release."""
    kernels = (cache or cache_folder()) / "kernels"
    found = []
    for root in sorted(kernels.glob("*/")):
        places = ("boot/vmlinuz*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz")
        images = [image for place in places for image in root.glob(place)]
        found += [_kernel(image) for image in sorted(images)[:1]]
    return found


def find_kernel(wanted: str, cache: Path | None = None) -> Kernel:
    """The kernel at a path, or of a release or the beginning of one.

    Raises:
        LabError: there is none, or several; what there is is named.
    """
    path = Path(wanted)
    if path.is_file():
        return _kernel(path)
    if "/" in wanted:
        raise LabError(f"{wanted}: no such kernel image")
    kernels = fetched_kernels(cache)
    fitting = [kernel for kernel in kernels if kernel.release.startswith(wanted)]
    exact = [kernel for kernel in fitting if wanted in (kernel.release, kernel.version)]
    fitting = exact or fitting
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(kernel.release for kernel in kernels) or "none"
    if fitting:
        raise LabError(
            f"several kernels begin with {wanted}: {', '.join(kernel.release for kernel in fitting)}"
        )
    raise LabError(f"no kernel {wanted} is fetched (there: {there}); gmemsim lab setup --fetch {wanted}")


def _kernel(image: Path) -> Kernel:
    release = _release(image)
    return Kernel(release, image.absolute(), _modules(image.absolute(), release))


def _release(image: Path) -> str:
    """The release that is written into a bzImage.

    Raises:
        LabError: it is none.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise LabError(f"{image}: {error.strerror}") from None
    if head[_MAGIC_AT : _MAGIC_AT + 4] != b"HdrS":
        raise LabError(f"{image}: expected a bzImage (vmlinuz) of x86")
    at = int.from_bytes(head[_VERSION_AT : _VERSION_AT + 2], "little") + 0x200
    words = head[at : at + 256].split(b"\0")[0].split()
    if not words:
        raise LabError(f"{image}: no version is written into it")
    return words[0].decode("ascii", "replace")


def _modules(image: Path, release: str) -> Path | None:
    """Beside the image, in the tree that it was unpacked into, or of the machine."""
    places = [
        image.parent,
        *(
            root / lib / "modules" / release
            for root in (image.parent.parent, image.parent, Path("/"))
            for lib in ("usr/lib", "lib")
        ),
    ]
    for place in places:
        if place.name == release and ((place / "kernel").is_dir() or (place / "modules.order").is_file()):
            return place
    return None
