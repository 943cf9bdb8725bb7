"""Classes in files of the user's, each named as `path/to/file.py:Class`: patches, and what `gmemsim.extend` is for.

A file is read once a process as long as it stays as it is, however many of its classes are asked for: a patch, the
events that it emits and the rule that looks at them are then of one module.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NoReturn, TypeVar

from ..bad_input import BadInput
from ..engine.blame import foreign, interrupted
from ..engine.interrupts import TimeUp, deadline

#: Seconds that the code of a user's file may take when it is read.
_READING: Final = 10.0
#: Modules of users' files are called so, with the file's own name after it.
_PREFIX: Final = "gmemsim_user_patch_"

_modules: dict[tuple[Path, int, int], ModuleType] = {}

_T = TypeVar("_T")


class PatchError(BadInput):
    """No such patch, or a file that does not hold what it should; the message is one line for the user."""


def is_users(module: str) -> bool:
    """Whether a module is that of a file which was named as `path/to/file.py:Class`."""
    return module.startswith(_PREFIX)


def file_of(cls: type) -> str:
    """`path:Class` of a class that was read from such a file, by its full path; empty for any other."""
    if not is_users(cls.__module__):
        return ""
    return f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}"


def which_class(path: str) -> str:
    """Which class of a file may have been meant, if it is one. It is read, and not run."""
    try:
        tree = ast.parse(Path(path).read_bytes()) if path.endswith(".py") else None
    except (OSError, SyntaxError, ValueError):
        tree = None
    if tree is None:
        return ""
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if not names:
        return "it has no class; expected path/to/file.py:ClassName"
    return f"which class? {' or '.join(f'{path}:{each}' for each in names[:5])}"


def class_in(name: str, base: type[_T], kind: str, hint: str) -> tuple[type[_T], str]:
    """The class that `path/to/file.py:Class` names, and the path as given.

    Args:
        base: what it has to be derived from.
        kind: what it is to be, for messages (`no patch`).
        hint: what to derive it from.

    Raises:
        PatchError: no such file or class, or one that cannot be read.
    """
    path, colon, class_name = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise PatchError(f"{name[:200]!r}: {which_class(name) or 'expected path/to/file.py:ClassName'}")
    module = module_of(path)
    found: Any = vars(module).get(class_name)
    if not isinstance(found, type):
        classes = [each for each, value in vars(module).items() if _is_own(value, base, module.__name__)]
        near = get_close_matches(class_name, classes, 1)
        guess = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(classes) or 'none'}"
        raise PatchError(f"{path}: no class {class_name}{guess}")
    if not issubclass(found, base):
        raise PatchError(f"{path}: {class_name} is {kind}; {hint}")
    return found, path


def module_of(path: str) -> ModuleType:
    """The module that a file is, read now if it was not or has changed since.

    Raises:
        PatchError: no such file, or its code fails.
    """
    file = Path(path)
    try:
        stat = file.stat()
        if not file.is_file():
            raise PatchError(f"{path}: not a regular file")
    except (OSError, ValueError) as error:
        said = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
        raise PatchError(f"{path}: {said}") from None
    # However its path is written.
    key = (file.resolve(), stat.st_mtime_ns, stat.st_size)
    module = _modules.get(key)
    if module is None:
        module = _modules[key] = _read(key[0], path)
    return module


class _WithAsserts(SourceFileLoader):
    """What an `assert` of the user's says must hold with `python -O` as well, whatever Python has kept of the file."""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True, optimize=0)


def _read(path: Path, shown: str) -> ModuleType:
    name = f"{_PREFIX}{path.stem}"
    number = 1
    # Two files of one name are two modules.
    while name in sys.modules and sys.modules[name].__file__ != str(path):
        number += 1
        name = f"{_PREFIX}{path.stem}_{number}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_WithAsserts(name, str(path)))
    if spec is None or spec.loader is None:
        raise PatchError(f"{shown}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered so that dataclasses, pickling and tracebacks of the user's classes work.
    sys.modules[name] = module
    _guard_exit()
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
        kind = "" if isinstance(error, PatchError) else f"{type(error).__name__}: "
        raise PatchError(f"{shown}:{line}: {kind}{said}") from error
    return module


def _guard_exit() -> None:
    """`os._exit(0)` in a user's file would end the command without a word, as if nothing had been found."""
    if getattr(os._exit, "guards", None) is not None:
        return
    real = os._exit

    def leave(status: int) -> NoReturn:
        if foreign(sys._getframe(1).f_code.co_filename):
            raise SystemExit(f"os._exit({status})")
        real(status)

    leave.__dict__["guards"] = real
    os._exit = leave


def _is_own(value: object, base: type, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value.__module__ == module


def _line_of(error: BaseException, path: Path) -> int:
    """Line of the user's file in which an import-time error arose."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
