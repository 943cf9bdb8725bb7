"""Patch versions by name, and a user's own from a file."""

from __future__ import annotations

import importlib.util
import sys
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..engine.blame import interrupted
from ..engine.interrupts import TimeUp, deadline
from ..nearest import hint
from .baseline import Baseline
from .hugepage import Hugepage
from .hugepage_mutex import HugepageMutex
from .hugepage_variants import HugepageNotifier, HugepagePopulate, HugepageStaged, HugepageTracked
from .inplace import Inplace, InplaceOff
from .inplace_content import InplaceContent
from .inplace_v8 import InplaceV8
from .mainline_7_3 import Mainline73
from .overrides import PatchError, check_instance, check_overrides
from .tracked import Tracked, TrackedShared
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


#: Seconds that the code of a user's file may take when it is read.
_READING: Final = 10.0


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
    change that was proposed (`patches.seeds`).

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
        raise PatchError(f"patch {name!r}: {hint(name, known)} (or path/to/file.py:ClassName)")
    file = Path(path)
    try:
        stat = file.stat()
        if not file.is_file():
            raise PatchError(f"{path}: not a regular file")
    except (OSError, ValueError) as error:
        said = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
        raise PatchError(f"{path}: {said}") from None
    return _from_file(file.resolve(), class_name, path, stat.st_mtime_ns, stat.st_size)


def registered_name(cls: type[Kernel]) -> str:
    """The version or variant that a class is, or that a user's patch or a seeded version is made of; empty: none."""
    known = versions()
    return next((base.name for base in cls.__mro__ if known.get(vars(base).get("name", "")) is base), "")


@cache
def _seeded(name: str) -> type[Kernel]:
    """One class a name, however often it is asked for."""
    from .seeds import seeds

    path, colon, last = name.rpartition(":")
    version, *changes = last.split("+")
    version = f"{path}{colon}{version}"
    known = seeds()
    cls = load_patch(version)
    for change in changes:
        if change not in known:
            raise PatchError(
                f"patch {name!r}: no seed {change!r}; see `gmemsim list bugs`, `list changes`, `list mends` "
                "and `hazards`"
            )
        cls = known[change](cls)
    # A class of its own, since a seed may be the version as it is.
    return type(cls.__name__, (cls,), {"name": name, "__module__": cls.__module__})


@cache
def _from_file(path: Path, class_name: str, shown: str, _time: int, _size: int) -> type[Kernel]:
    """One class a file as it is: its code runs once a process, however many runs are made of it."""
    from ..actors.kernel import Kernel

    module_name = f"gmemsim_user_patch_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PatchError(f"{shown}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered so that dataclasses, pickling and tracebacks of the user's classes work.
    sys.modules[module_name] = module
    try:
        with deadline(_READING):
            spec.loader.exec_module(module)
    except BaseException as error:
        if isinstance(error, TimeUp) and error.seconds == _READING:
            where = f"{shown}:{_line_of(error, path)}"
            raise PatchError(
                f"{where}: the file was not read in {_READING:g} s: what it does there has no end"
            ) from None
        if interrupted(error):
            raise
        line = getattr(error, "lineno", None) or _line_of(error, path)
        said = error.msg if isinstance(error, SyntaxError) else error
        raise PatchError(f"{shown}:{line}: {type(error).__name__}: {said}") from error
    found = vars(module).get(class_name)
    if not isinstance(found, type):
        classes = [each for each, value in vars(module).items() if _is_patch(value, module_name)]
        near = get_close_matches(class_name, classes, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(classes) or 'none'}"
        raise PatchError(f"{shown}: no class {class_name}{hint}")
    if not issubclass(found, Kernel):
        raise PatchError(f"{shown}: {class_name} is no patch; derive it from one, e.g. gmemsim.patches.v3.V3")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise PatchError(f"{shown}: {class_name} lacks {', '.join(missing)}; derive it from a patch version")
    if "name" not in vars(found):
        found.name = class_name
    elif not _is_name(found.name):
        said = f"expected a string of printable characters, got {found.name!r:.60}"
        raise PatchError(f"{shown}: {class_name}.name: {said}")
    return checked(found)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_patch(value: object, module: str) -> bool:
    from ..actors.kernel import Kernel

    return isinstance(value, type) and issubclass(value, Kernel) and value.__module__ == module


def _line_of(error: BaseException, path: Path) -> int:
    """Line of the user's file in which an import-time error arose."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
