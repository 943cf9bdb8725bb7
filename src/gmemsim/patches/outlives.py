"""State of a user's patch that outlives a run: what its modules, classes and functions hold, and runs change.

Every run of a search begins anew, and a search that goes back to earlier states takes the kernel and its objects back
with it, not a module's variables. So what a run changes has to hang on the kernel (`self`) or on its objects.
"""

from __future__ import annotations

import os
from operator import is_
from types import FunctionType
from typing import Any, Final

from ..engine.observed_containers import STEP
from .frozen import bare_function, content, is_plain, part_of
from .places import Places

_MISSING: Final = object()


class Held:
    """What users' files hold in variables of modules, classes and functions (`places`), as it is now.

    A look costs little as long as nothing is changed: of names that stand for the same objects as before, only what can
    change inside is gone through.
    """

    def __init__(self, *classes: type) -> None:
        self._classes = classes
        self._before: dict[str, Any] = {}
        if classes:
            self._places, self._before = self._now()

    def __bool__(self) -> bool:
        return bool(self._classes)

    def changed(self) -> str:
        """The first name that holds something else now; empty: none."""
        if not self._classes:
            return ""
        touched, STEP.touched = STEP.touched, None  # no step is to be said to read what is looked at here
        try:
            return "" if self._as_before() else self._first()
        finally:
            STEP.touched = touched

    def _as_before(self) -> bool:
        for space, values in self._spaces:
            if len(space) != len(values) or not all(map(is_, space.values(), values)):
                return False
        for space, name, value in self._named:
            if space.get(name, _MISSING) is not value:
                return False
        if self._places.environment and dict(os.environ) != self._environment:
            return False
        for function, defaults in self._bare:
            if function.__defaults__ is not defaults or function.__kwdefaults__ or function.__dict__:
                return False
        return all(content(value) == held for value, held in self._inside)

    def _first(self) -> str:
        """By name; if it is none, objects stand in for others, as when a function was entered."""
        before = self._before
        kept = dict(vars(self))
        self._places, now = self._now()
        for name in sorted(before.keys() | now.keys()):
            old, new = before.get(name, _MISSING), now.get(name, _MISSING)
            if old != new:
                vars(self).update(kept)
                return f"{name}{part_of(old, new)}"
        return ""

    def _now(self) -> tuple[Places, dict[str, Any]]:
        places = Places(self._classes)
        found: dict[str, Any] = {}
        self._inside: list[tuple[Any, Any]] = []
        self._bare: list[tuple[FunctionType, Any]] = []
        for name, value in places:
            found[name] = held = content(value)
            if (function := bare_function(value)) is not None:
                self._bare.append((function, function.__defaults__))
            elif not is_plain(value):
                self._inside.append((value, held))
        self._spaces = [(space, list(space.values())) for space in places.spaces]
        self._named = [(space, name, space[name]) for (_, name), space in places.named.items()]
        self._environment = dict(os.environ)
        return places, found
