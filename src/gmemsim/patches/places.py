"""Places in which a user's files can keep something over a run, by file and name.

Variables of its modules and of modules of the user's that they import, attributes of classes, what functions keep
(`frozen.kept_by`), the environment if the code knows of it. Of a class that is no file's of `path/to/file.py:Class`,
as that of a test is, only variables that its functions name: what else the test has is nothing of the patch.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from ..engine.blame import foreign, shown
from ..engine.observed import declared_fields
from .frozen import in_cell, original
from .sources import function_of, ours
from .user_file import is_users

#: Names in code that can change the environment.
_ENVIRONMENT: Final = frozenset({"environ", "environb", "putenv", "unsetenv"})
#: Of every enumeration: made when somebody asks for a combination of flags.
_OF_ENUMS: Final = frozenset(
    {"_value2member_map_", "_member_names_", "_unhashable_values_", "_hashable_values_"}
)
_OF_CLASSES: Final = frozenset({"__annotations__"})


class Places:
    """What is to be looked at of these classes.

    Args:
        whole_files: whatever stands beside them in files of the user's, too, and not what their functions name alone.

    Attributes:
        spaces: the modules' and classes' dictionaries of names.
        named: single names in others, by file and name, with the dictionary.
        environment: whether the code can change it.
    """

    def __init__(self, classes: Iterable[type], *, whole_files: bool = True) -> None:
        self._whole_files = whole_files
        self.spaces: list[Any] = []
        self.named: dict[tuple[str, str], dict[str, Any]] = {}
        self.environment = False
        self._modules: dict[str, ModuleType] = {}
        self._classes: dict[type, None] = {}
        self._codes: set[CodeType] = set()
        for cls in classes:
            self._class(cls)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Names, as a message has them, and values as they are now."""
        for module in self._modules.values():
            path = shown(str(module.__file__))
            for name, value in list(vars(module).items()):
                if not name.startswith("__"):
                    yield f"{path}: {name}", value
        for cls in self._classes:
            path = shown(_path(cls.__module__) or cls.__module__)
            for name, value in list(vars(cls).items()):
                if _may_change(cls, name):
                    yield f"{path}: {cls.__name__}.{name}", value
        for (path, name), space in self.named.items():
            if name in space:
                yield f"{shown(path)}: {name}", space[name]
        if self.environment:
            for name, value in os.environ.items():
                yield f"the environment variable {name}", value

    def codes(self) -> list[CodeType]:
        """Of every function that was come to, by place; those within another one are that one's."""
        return sorted(self._codes, key=lambda code: (code.co_filename, code.co_firstlineno))

    def _class(self, cls: type) -> None:
        for owner in cls.__mro__:
            if owner in self._classes or ours(owner) or not _users_class(owner):
                continue
            self._classes[owner] = None
            self.spaces.append(vars(owner))
            if self._whole_files and is_users(owner.__module__):
                self._module(sys.modules[owner.__module__])
            for name, value in list(vars(owner).items()):
                if _may_change(owner, name):
                    self._value(value)

    def _module(self, module: ModuleType) -> None:
        if module.__name__ in self._modules:
            return
        self._modules[module.__name__] = module
        self.spaces.append(vars(module))
        for value in list(vars(module).values()):
            self._value(value)

    def _value(self, value: Any) -> None:
        if isinstance(value, type):
            if foreign(_path(value.__module__) or "<"):
                self._class(value)
        elif isinstance(value, ModuleType):
            if foreign(getattr(value, "__file__", None) or "<"):
                self._module(value)
        elif isinstance(value, property):
            for each in (value.fget, value.fset, value.fdel):
                self._function(each)
        else:
            self._function(value)

    def _function(self, value: Any) -> None:
        function = function_of(original(getattr(value, "__wrapped__", value)))
        if function is None or function.__code__ in self._codes:
            return
        path = function.__code__.co_filename
        if not foreign(path):
            return
        self._codes.add(function.__code__)
        names = _names(function.__code__)
        self.environment = self.environment or not names.isdisjoint(_ENVIRONMENT)
        space = function.__globals__
        if space.get("__name__") not in self._modules:
            for name in sorted(names & space.keys()):
                if (path, name) not in self.named and not name.startswith("__"):
                    self.named[path, name] = space
                    self._value(space[name])
        for cell in function.__closure__ or ():
            self._value(in_cell(cell))


def _users_class(cls: type) -> bool:
    """Not of Python's library; of a module that has no file it is the user's, too."""
    path = _path(cls.__module__)
    return cls.__module__.partition(".")[0] not in sys.stdlib_module_names and (not path or foreign(path))


def _path(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or ""


def _may_change(cls: type, name: str) -> bool:
    """A declared field is the objects': only the way to it is the class's."""
    if (cls, name) in declared_fields or name == "_abc_impl":
        return False
    if issubclass(cls, enum.Enum) and name in _OF_ENUMS:
        return False
    return not name.startswith("__") or name in _OF_CLASSES or isinstance(vars(cls)[name], FunctionType)


def _names(code: CodeType) -> set[str]:
    """Every name that it or a function in it uses."""
    found = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found |= _names(each)
    return found
