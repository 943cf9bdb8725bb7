"""Tables that are spread over the modules of a folder, so that a new module needs no line in a list."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def modules_of(registry: str, name: str) -> Iterator[ModuleType]:
    """The modules beside `registry` that have `name`, in alphabetical order.

    Args:
        registry: `__name__` of the module that asks.
    """
    package = registry.rpartition(".")[0]
    for found in iter_modules(import_module(package).__path__, f"{package}."):
        if found.name != registry and hasattr(module := import_module(found.name), name):
            yield module
