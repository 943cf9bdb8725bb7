"""Which kernel function a row is about, and which class and method of each version is responsible for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ..audit.vocabulary import vocabulary
from ..patches.sources import defined_as, function_of
from .behaviour import RENAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import CodeType

    from .behaviour import Behaviours
    from .rows import Row

_PACKAGE = Path(__file__).resolve().parent.parent
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
    changes: dict[str, Any] = {"function": function or _mirrors(row.operation.partition(" ")[0])}
    if versions is not None:
        changes["left_method"], changes["right_method"] = _methods(
            functions, chain, versions, _target(row.step)
        )
        method = changes["right_method"] or changes["left_method"]
        if not function and method:
            # A lock: methods are called as the kernel's functions are.
            changes["function"] = method.partition(" (")[0].rpartition(".")[2]
    return structs.replace(row, **changes)


def _target(step: str) -> str:
    """What the code that takes a step or lock names: the event's class, or the lock's attribute."""
    name = step.removeprefix("lock ").partition(" ")[0]
    cls = vocabulary().get(name)
    return name.partition(":")[0] if cls is None else cls.__name__


def _mirrors(name: str) -> str:
    cls = vocabulary().get(name)
    return "" if cls is None else cls.mirrors


def _functions(name: str) -> list[str]:
    """Kernel functions that the event mirrors."""
    return _NAME.findall(_mirrors(name))


def _methods(
    functions: list[str], events: list[str], versions: tuple[type, type], target: str
) -> tuple[str, str]:
    """The method that differs between the versions and is called nearest to what the row is about.

    The functions are looked at from the innermost to the outermost, each with what it calls, nearest first; a method
    that leads to the step or lock of the row (`target`) is preferred to one that does not. If no method differs, the
    innermost function that there is.
    """
    fallback: tuple[str, str] | None = None
    existing: tuple[str, str] | None = None
    first, second = versions
    for function in (*functions, *_emitters(events, versions)):
        for name in _called(function, versions):
            if existing is None:
                existing = _name(first, name), _name(second, name)
            if _code(first, name) is _code(second, name):
                continue
            if any(
                target in _names(version, called)
                for called in _called(name, versions)
                for version in versions
            ):
                return _name(first, name), _name(second, name)
            if fallback is None:
                fallback = _name(first, name), _name(second, name)
    return fallback or existing or ("", "")


def _names(version: type, method: str) -> tuple[str, ...]:
    """What the code of a method names."""
    code = _code(version, method)
    return () if code is None else code.co_names


def _called(function: str, versions: tuple[type, type]) -> Iterator[str]:
    """`function`, if it is a method, and the methods that it calls in either version, nearest first."""
    todo = [function]
    seen = {function}
    for name in todo:
        codes = [_code(version, name) for version in versions]
        if not any(codes):
            continue
        yield name
        for code in codes:
            for called in () if code is None else code.co_names:
                if called not in seen and any(hasattr(version, called) for version in versions):
                    seen.add(called)
                    todo.append(called)


def _emitters(events: list[str], versions: tuple[type, type]) -> list[str]:
    """Methods that write one of the events to the log, the innermost event first."""
    classes = vocabulary()
    found: list[str] = []
    for event in events:
        names = {event, *(new for new, old in RENAMED.items() if old == event)}
        written = {classes[name].__name__ for name in names if name in classes}
        for version in versions:
            for name in dir(version):
                code = _code(version, name)
                if code is not None and written & set(code.co_names):
                    found.append(name)
    return list(dict.fromkeys(found))


def _code(version: type, name: str) -> CodeType | None:
    function = function_of(getattr(version, name, None))
    return None if function is None else function.__code__


def _name(version: type, name: str) -> str:
    """Class and method, and file and line: ours from the folder of the package on."""
    if not hasattr(version, name):
        return ""
    code = _code(version, name)
    if code is None:
        return defined_as(version, name)
    path = Path(code.co_filename)
    if path.is_relative_to(_PACKAGE):
        path = path.relative_to(_PACKAGE)
    return f"{defined_as(version, name)} ({path.as_posix()}:{code.co_firstlineno})"
