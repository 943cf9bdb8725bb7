"""Digests of what a kept result follows from: the sources of the model, and files of users."""

from __future__ import annotations

import ast
import sys
import sysconfig
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Python's own modules, installed packages, and this one: they are not the user's.
_INSTALLED: Final = tuple(
    Path(place).resolve()
    for place in {*sysconfig.get_paths().values(), str(Path(__file__).parents[1])}
    if place not in {sysconfig.get_path("data"), sysconfig.get_path("scripts")}
)


@cache
def of_model(*rooms: str) -> str:
    """Of the Python files in these folders of the package."""
    digest = blake2b(digest_size=8)
    root = Path(__file__).parents[1]
    for room in rooms:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_text(encoding="utf-8").encode())
    return digest.hexdigest()


def of_files(names: Iterable[str]) -> dict[str, str]:
    """Of users' files (`file.py:Class`, a cost table, a scenario), by the name that they were given by.

    With those that a Python file imports. What it opens or asks at run time is not seen.
    """
    found = {}
    for name in names:
        path = next((path for path in (Path(name.rpartition(":")[0]), Path(name)) if path.is_file()), None)
        if path is not None:
            digest = blake2b(digest_size=8)
            for each in with_imports([path]):
                digest.update(each.read_bytes())
            found[name] = digest.hexdigest()
    return found


def with_imports(paths: Iterable[Path]) -> list[Path]:
    """These files and the user's own modules that they import, directly or not."""
    found: dict[Path, Path] = {}
    todo = list(paths)
    while todo:
        path = todo.pop(0)
        if path.resolve() not in found:
            found[path.resolve()] = path
            if _is_users(path):
                todo += _imported(path)
    return list(found.values())


def _imported(path: Path) -> Iterator[Path]:
    """A module is looked up among those that are there already, and else beside the file."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [module, *(f"{module}.{alias.name}".replace("..", ".", 1) for alias in node.names)]
        for name in names:
            parts = name.lstrip(".").split(".")
            for length in range(1, len(parts) + 1):
                file = getattr(sys.modules.get(".".join(parts[:length])), "__file__", None)
                beside = path.parent.joinpath(*parts[:length])
                for each in (file, beside.with_suffix(".py"), beside / "__init__.py"):
                    if each is not None and _is_users(Path(each)):
                        yield Path(each)
                        break


def _is_users(path: Path) -> bool:
    real = path.resolve()
    return path.suffix == ".py" and path.is_file() and not any(real.is_relative_to(at) for at in _INSTALLED)
