"""The studies by their question: each module `qNN_NAME` of this folder has one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from .study import Study


def _studies() -> Iterator[Study]:
    package = __name__.rpartition(".")[0]
    for found in iter_modules(import_module(package).__path__):
        if found.name.startswith("q"):
            module = import_module(f"{package}.{found.name}")
            for cls in vars(module).values():
                if isinstance(cls, type) and issubclass(cls, Study) and cls.__module__ == module.__name__:
                    yield cls()


STUDIES: Final[dict[str, Study]] = {study.key: study for study in _studies()}
