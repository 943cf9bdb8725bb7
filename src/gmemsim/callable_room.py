"""Packages that are called by their own name: `gmemsim.explore(...)` beside `gmemsim.explore.search`.

Two functions of `api` are named as the packages that do the work. An attribute of the package gmemsim can be only one
of the two, and imports set it to the package; so the package itself is made callable.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallableRoom(ModuleType):
    """A package that passes calls on to the function of its name in `gmemsim.api`."""

    def _function(self) -> Any:
        package, _, name = self.__name__.rpartition(".")
        return getattr(import_module(f"{package}.api"), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        """For `help` and completion."""
        return inspect.signature(self._function())


def make_callable(name: str) -> None:
    """Let calls of the package `name` go to the function of the same name in `gmemsim.api`."""
    sys.modules[name].__class__ = _CallableRoom
