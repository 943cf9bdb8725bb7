"""A vector on a version, VM type and release, and whether it says something of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ...actors.release import RELEASES, Release

if TYPE_CHECKING:
    from ...actors.kernel import Kernel
    from .vector import Vector

#: What the vectors call the patch versions; None: they say nothing of one. Any other counts as what it derives from.
_VERSIONS: Final[dict[str, str | None]] = {
    "baseline": "baseline",
    "v1": None,
    "v2": None,
    "v3": "v3",
    "inplace-v8": "inplace",
    "inplace": "inplace",
    "inplace-off": None,
    "inplace-content": None,
    "hugepage": "hugepage",
    "hugepage-mutex": None,
}


class Case(NamedTuple):
    """A vector on one patch version, VM type and release."""

    vector: Vector
    patch: type[Kernel]
    vm_type: str
    release: Release


def version_of(patch: type[Kernel]) -> str | None:
    """What the vectors call a patch version; a user's own counts as the version that it derives from."""
    for cls in patch.__mro__:
        name = vars(cls).get("name")
        if name in _VERSIONS:
            return _VERSIONS[name]
    return None


def applicable(vector: Vector, patch: type[Kernel], vm_type: str, release: Release | None = None) -> str:
    """Why the vector says nothing of this version, VM type and release; empty if it does."""
    version = version_of(patch)
    if vector.everywhere and version is not None:
        # Where it applies is part of what is not known: it is unsupported wherever it is asked for.
        return ""
    if version not in vector.versions:
        return f"is for {', '.join(vector.versions)}"
    if vm_type.replace("-", "_") not in vector.vm_types:
        return f"is for VM types {', '.join(vector.vm_types)}"
    name = (release or RELEASES[patch.default_release]).name
    number = _number(name)
    kernels = vector.kernels
    if kernels.min is not None and number < _number(kernels.min):
        return f"is for kernels from {kernels.min}"
    if kernels.below is not None and number >= _number(kernels.below):
        return f"is for kernels below {kernels.below}"
    return ""


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.lstrip("v").split(".") if part.isdigit())
