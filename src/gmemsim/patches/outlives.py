"""State of a user's patch that outlives a run: variables of its modules and classes that runs change.

Every run of a search begins anew, and a search that goes back to earlier states takes the kernel and its objects back
with it, not a module's variables. So what a run changes has to hang on the kernel (`self`) or on its objects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

from ..engine.blame import shown
from ..engine.observed import declared_fields
from .sources import function_of, ours
from .user_file import is_users

#: How deep containers and objects of the user's are looked into, and how many values of each.
_DEPTH: Final = 4
_MOST: Final = 1_000
_NO_STATE: Final = (FunctionType, BuiltinFunctionType, ModuleType, type, classmethod, staticmethod, property)


def variables(*classes: type) -> dict[str, Any]:
    """What the modules and classes of users' patches hold now, by file and name; comparable."""
    return {name: _frozen(value, _DEPTH) for cls in classes for name, value in _held(cls)}


def changed_since(before: dict[str, Any], *classes: type) -> str:
    """The first name whose value is another one now; empty: none."""
    now = variables(*classes)
    return next(
        (name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)), ""
    )


def _held(cls: type) -> Iterator[tuple[str, Any]]:
    for owner in cls.__mro__:
        if owner is object or ours(owner):
            continue
        module = sys.modules.get(owner.__module__)
        path = shown(getattr(module, "__file__", None) or owner.__module__)
        for name, value in list(vars(owner).items()):
            if (owner, name) in declared_fields or name.startswith("__") or name == "_abc_impl":
                # A declared field is the objects': only the way to it is the class's.
                continue
            if function_of(value) is None:
                yield f"{path}: {owner.__name__}.{name}", value
        if path.endswith(".py") and is_users(owner.__module__):
            for name, value in list(vars(module).items()):
                if not name.startswith("__"):
                    yield f"{path}: {name}", value


def _frozen(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (int, str, float, bytes, complex)):
        return value
    if isinstance(value, _NO_STATE):
        return id(value)
    if depth:
        if isinstance(value, dict):
            return "dict", len(value), *(_frozen(each, depth - 1) for each in list(value.items())[:_MOST])
        if isinstance(value, (list, tuple)):
            return type(value).__name__, len(value), *(_frozen(each, depth - 1) for each in value[:_MOST])
        if isinstance(value, (set, frozenset)):
            return "set", len(value), frozenset(map(id, value))
        if is_users(type(value).__module__) and hasattr(value, "__dict__"):
            return id(value), _frozen(vars(value), depth - 1)
    if hasattr(value, "__len__"):
        return id(value), len(value)
    if type(value).__module__ == "itertools":
        return repr(value)
    return id(value)
