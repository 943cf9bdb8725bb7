"""Which kernel function a row is about, and which class and method of each version is responsible for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ..audit.vocabulary import vocabulary
from .behaviour import RENAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .behaviour import Behaviours
    from .rows import Row

__all__ = ["explained"]

_NAME = re.compile(r"[a-z_][a-z0-9_]{3,}")


def explained(
    rows: Iterable[Row], runs: Sequence[Behaviours], versions: tuple[type, type] | None
) -> list[Row]:
    """The rows with kernel functions, and with methods if the sides are `versions`."""
    paths: dict[tuple[str, str], tuple[str, ...]] = {}
    for run in runs:
        for key, path in run.paths.items():
            # The longest says most: a hook that one version calls directly, another from a helper.
            if len(path) > len(paths.get(key, ())):
                paths[key] = path
    return [_explain(row, paths.get((row.operation, row.step), ()), versions) for row in rows]


def _explain(row: Row, path: tuple[str, ...], versions: tuple[type, type] | None) -> Row:
    step = row.step.partition(" ")[0]
    chain = [
        name for name in (step, *reversed(path), row.operation.partition(" ")[0]) if name in vocabulary()
    ]
    functions = list(dict.fromkeys(text for name in chain for text in _functions(name)))
    around = next((_functions(name)[0] for name in reversed(path) if name != step and _functions(name)), "")
    own = _mirrors(step)
    function = f"{own} in {around}" if own and around and around not in own else own or around
    changes: dict[str, Any] = {"function": function}
    if versions is not None:
        changes["left_method"], changes["right_method"] = _methods(functions, chain, versions)
    return structs.replace(row, **changes)


def _mirrors(name: str) -> str:
    cls = vocabulary().get(name)
    return "" if cls is None else cls.mirrors


def _functions(name: str) -> list[str]:
    """Kernel functions that the event mirrors."""
    return _NAME.findall(_mirrors(name))


def _methods(functions: list[str], events: list[str], versions: tuple[type, type]) -> tuple[str, str]:
    """The innermost method that differs between the versions; else the innermost that there is."""
    first: tuple[str, str] | None = None
    for name in (*functions, *_emitters(events, versions)):
        one, two = (getattr(version, name, None) for version in versions)
        if not (callable(one) or callable(two)):
            continue
        pair = _name(one), _name(two)
        if first is None:
            first = pair
        if getattr(one, "__code__", one) is not getattr(two, "__code__", two):
            return pair
    return first or ("", "")


def _emitters(events: list[str], versions: tuple[type, type]) -> list[str]:
    """Methods that write one of the events to the log, the innermost event first."""
    classes = vocabulary()
    found: list[str] = []
    for event in events:
        names = {event, *(new for new, old in RENAMED.items() if old == event)}
        written = {classes[name].__name__ for name in names if name in classes}
        for version in versions:
            for name in dir(version):
                code = getattr(getattr(version, name, None), "__code__", None)
                if code is not None and written & set(code.co_names):
                    found.append(name)
    return list(dict.fromkeys(found))


def _name(method: Any) -> str:
    if method is None:
        return ""
    return f"{method.__module__.rpartition('.')[2]}.{method.__qualname__}"
