"""Patch versions by name, and a user's own from a file."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ..nearest import hint
from .baseline import Baseline
from .hugepage import Hugepage
from .hugepage_mutex import HugepageMutex
from .hugepage_variants import HugepageNotifier, HugepagePopulate, HugepageStaged, HugepageTracked
from .inplace import Inplace, InplaceOff
from .inplace_content import InplaceContent
from .inplace_v8 import InplaceV8
from .mainline_7_3 import Mainline73
from .overrides import check_instance, check_overrides
from .tracked import Tracked, TrackedShared
from .user_file import PatchError, class_in, which_class
from .v1 import V1
from .v2 import V2
from .v3 import V3

if TYPE_CHECKING:
    from ..actors.kernel import Kernel

__all__ = [
    "HUGE",
    "HUGE_VARIANTS",
    "IN_PLACE",
    "PATCHES",
    "VARIANTS",
    "PatchError",
    "check_instance",
    "checked",
    "load_patch",
    "named",
    "registered_name",
    "versions",
]  # fmt: skip

PATCHES: dict[str, type[Kernel]] = {cls.name: cls for cls in (Baseline, V1, V2, V3, Mainline73)}

#: Versions that convert in place. Apart from the others, whose faults take no invalidate lock.
IN_PLACE: dict[str, type[Kernel]] = {
    cls.name: cls for cls in (InplaceV8, Inplace, InplaceOff, InplaceContent)
}

#: What-ifs that nobody posted: they run like the versions, but what is said of baseline to v3 need not hold for them.
VARIANTS: dict[str, type[Kernel]] = {cls.name: cls for cls in (Tracked, TrackedShared)}

#: Versions with huge folios: they differ from `inplace` only for files that are created with HUGETLB.
HUGE: dict[str, type[Kernel]] = {cls.name: cls for cls in (Hugepage, HugepageMutex)}

#: What the series does differently from `hugepage`, one difference each, and a what-if (`hugepage_variants`).
HUGE_VARIANTS: dict[str, type[Kernel]] = {
    cls.name: cls for cls in (HugepageStaged, HugepagePopulate, HugepageTracked, HugepageNotifier)
}


def versions() -> dict[str, type[Kernel]]:
    """Every version and variant, by name."""
    return PATCHES | IN_PLACE | VARIANTS | HUGE | HUGE_VARIANTS


def named(name: str) -> bool:
    """Whether `name` is that of a version, with or without changes, and not of a user's file."""
    return name in versions() or ("+" in name and "/" not in name and ":" not in name)


def checked(cls: type[Kernel]) -> type[Kernel]:
    """The class, if everything that it defines can run (`overrides`).

    Raises:
        PatchError: it cannot.
    """
    check_overrides(cls, versions)
    return cls


def load_patch(name: str) -> type[Kernel]:
    """The patch version or variant called `name`, or `path/to/file.py:ClassName`.

    `VERSION+SEED`, or `path/to/file.py:ClassName+SEED`, is a version or a patch with a seeded bug of the zoo, or a
    change that was proposed (`patches.seeds`), which has to be for that version and to have effect on it (`changes`).

    Raises:
        PatchError: with what was expected.
    """
    known = versions()
    if name in known:
        return known[name]
    if named(name):
        return _seeded(name)
    path, colon, class_name = name.rpartition(":")
    if "+" in class_name:
        return _seeded(name)
    if not colon or not path.endswith(".py"):
        meant = which_class(name) or f"{hint(name, known)} (or path/to/file.py:ClassName)"
        raise PatchError(f"patch {name!r}: {meant}")
    from ..actors.kernel import Kernel

    kernel: Any = Kernel
    cls, shown = class_in(name, kernel, "no patch", "derive it from one, e.g. gmemsim.patches.v3.V3")
    found: Any = cls
    return _from_file(found, shown)


def registered_name(cls: type[Kernel]) -> str:
    """The version or variant that a class is, or that a user's patch or a seeded version is made of; empty: none."""
    known = versions()
    return next((base.name for base in cls.__mro__ if known.get(vars(base).get("name", "")) is base), "")


@cache
def _seeded(name: str) -> type[Kernel]:
    """One class a name, however often it is asked for."""
    from .changes import with_changes

    path, colon, last = name.rpartition(":")
    version, *changes = last.split("+")
    base = load_patch(f"{path}{colon}{version}")
    cls = with_changes(base, registered_name(base), changes, name)
    # A class of its own, since a seed may be the version as it is.
    return type(cls.__name__, (cls,), {"name": name, "__module__": cls.__module__})


@cache
def _from_file(cls: Any, shown: str) -> type[Kernel]:
    """One class a file as it is, looked through once."""
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise PatchError(
            f"{shown}: {cls.__name__} lacks {', '.join(missing)}; derive it from a patch version"
        )
    if "name" not in vars(cls):
        cls.name = cls.__name__
    elif not _is_name(cls.name):
        said = f"expected a string of printable characters, got {cls.name!r:.60}"
        raise PatchError(f"{shown}: {cls.__name__}.name: {said}")
    found: type[Kernel] = checked(cls)
    return found


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()
