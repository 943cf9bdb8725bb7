"""What a user's patch class defines, held against the version that it derives from, before anything runs.

An override of a function that the version does not have, or never calls, would be a patch that never ran, and a search
would find nothing wrong with it. What can be told from the class alone is refused when it is loaded; what only a run
can tell (`entered`) is said in the result.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import cache, partial, partialmethod
from typing import TYPE_CHECKING, Any, Final

from ..actors.release import RELEASES
from ..engine.blame import shown
from .call_graph import reached, set_on_kernels
from .fitting import guard_results
from .sources import defined_as, function_of, ours, own_functions
from .user_file import PatchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

    from ..actors.kernel import Kernel

#: What the rules are told of a version and no function asks, with what does it.
_FACTS: Final = {
    "in_place": "derive from a version in place, or from inplace-off",
    "huge_pages": "derive from hugepage",
    "get_pfn_puts": "override kvm_gmem_get_locked_pfn, kvm_release_faultin_pfn or kvm_gmem_get_pfn besides",
}
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check_overrides(cls: Any, known: Callable[[], dict[str, type[Kernel]]]) -> None:
    """Refuse a class that defines what its version does not have or never calls.

    Args:
        known: the versions by name, for the message.

    Raises:
        PatchError: file and line, what is wrong, and the nearest name.
    """
    _check_class(cls, known)


def check_instance(kernel: Kernel) -> None:
    """Refuse a kernel that a user's code, its `__init__` or another function, has given functions of its own.

    Raises:
        PatchError: file and line of the `__init__` or the class, and the nearest name.
    """
    cls: Any = type(kernel)
    owner = next((each for each in cls.__mro__ if "__init__" in vars(each)), cls)
    if ours(cls):
        return
    version = next(each for each in cls.__mro__ if ours(each))
    if ours(owner):
        owner = cls
    init = function_of(vars(owner).get("__init__"))
    can_run = reached(cls).names
    own = [function for _, _, function in own_functions(cls)]
    for name, value in vars(kernel).items():
        theirs = function_of(getattr(version, name, None))
        if theirs is not None and not callable(value):
            raise _refused(owner, name, init, f"{name} is a function in {version.name}, not {value!r:.60}")
        if not callable(value) or name in set_on_kernels(version):
            continue
        if theirs is not None:
            # What it takes and gives would not be held against the version's function.
            text = "is set on the kernel: define it as a function of the class"
            if name not in can_run:
                text = f"{version.name} never calls {name}"
            raise _refused(owner, name, init, text)
        if not any(name in function.__code__.co_names for function in own):
            near = get_close_matches(name, can_run, 1, 0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise _refused(
                owner, name, init, f"{version.name} has no function {name}, and nothing calls it{hint}"
            )


@cache
def _check_class(cls: Any, known: Callable[[], dict[str, type[Kernel]]]) -> None:
    version = next((each for each in cls.__mro__ if ours(each)), cls)
    for owner in cls.__mro__:
        if owner is object or ours(owner):
            continue
        if owner.__module__ == "builtins":
            raise PatchError(f"{cls.__name__}: a patch cannot derive from {owner.__name__} as well")
        for name, value in list(vars(owner).items()):
            if not name.startswith("__"):
                _check(cls, owner, name, value, version, known)
    guard_results(cls)


def _check(
    cls: type[Kernel],
    owner: type,
    name: str,
    value: Any,
    version: Any,
    known: Callable[[], dict[str, type[Kernel]]],
) -> None:
    function = function_of(value)
    if name in set_on_kernels(version):
        text = f"{name} is set on each kernel by __init__ of {version.name}, so that of the class is never looked at"
        raise _refused(owner, name, function, text)
    base = next((vars(each)[name] for each in cls.__mro__ if ours(each) and name in vars(each)), None)
    theirs = function_of(base)
    if function is None:
        _check_value(cls, owner, name, value, version, theirs, known)
        return
    if base is not None and theirs is None:
        raise _refused(owner, name, function, f"{name} is a value in {version.name}, not a function")
    can_run = reached(cls)
    if name not in can_run.names:
        raise _refused(owner, name, function, _why_not(cls, name, version, theirs is not None, known()))
    if theirs is not None:
        if wrong := _differs(function, theirs, value, base):
            raise _refused(owner, name, function, f"{wrong} ({defined_as(version, name)} of {version.name})")
        if (owner, name) not in can_run.definitions and not _replaced(cls, owner, name):
            first = next(each for each in cls.__mro__ if name in vars(each))
            text = f"never runs: {first.__name__} comes before {owner.__name__} in the order of the classes"
            raise _refused(owner, name, function, text)


def _replaced(cls: type, owner: type, name: str) -> bool:
    """The user's own class overrides the function of another own class, which is its good right; so may a seed."""
    before = cls.__mro__[: cls.__mro__.index(owner)]
    return any(name in vars(each) and (not ours(each) or issubclass(each, owner)) for each in before)


def _check_value(
    cls: type[Kernel],
    owner: type,
    name: str,
    value: Any,
    version: Any,
    theirs: FunctionType | None,
    known: Callable[[], dict[str, type[Kernel]]],
) -> None:
    """A value where the version has a function, or under a name that nearly is one of the version's."""
    if theirs is not None:
        if not callable(getattr(owner, name, value)):
            raise _refused(owner, name, None, f"{name} is a function in {version.name}, not {value!r:.60}")
        if wrong := _not_a_method(owner, name, value, theirs):
            raise _refused(owner, name, None, f"{wrong} ({defined_as(version, name)} of {version.name})")
        return
    base = next((vars(each)[name] for each in cls.__mro__ if ours(each) and name in vars(each)), None)
    if base is not None:
        if isinstance(base, (bool, int, str, dict)) and type(value) is not type(base):
            text = f"expected {type(base).__name__}, as {base!r} in {version.name}, got {value!r:.60}"
            raise _refused(owner, name, None, text)
        if name == "default_release" and value not in RELEASES:
            raise _refused(
                owner, name, None, f"no release {value!r:.60}; expected one of {', '.join(RELEASES)}"
            )
        does_it = {each for each in _FACTS.get(name, "").replace(",", "").split() if each.startswith("kvm_")}
        if name in _FACTS and value != base and does_it.isdisjoint(of for _, of, _ in own_functions(cls)):
            text = f"only says what {version.name} is, and changes nothing by itself: {_FACTS[name]}"
            raise _refused(owner, name, None, text)
        return
    if isinstance(value, type):
        return
    near = get_close_matches(name, [each for each in dir(version) if not each.startswith("__")], 1, 0.8)
    if near and not any(name in function.__code__.co_names for _, _, function in own_functions(cls)):
        text = f"{version.name} has no {name}, and nothing reads it; did you mean {near[0]}?"
        raise _refused(owner, name, None, text)


def _not_a_method(owner: type, name: str, value: Any, theirs: FunctionType) -> str:
    """How something callable that is no function cannot stand for the version's method."""
    if isinstance(value, partial):  # which Python 3.13 asks, and gives nothing
        return "has to be a method: a partial is not given `self` (before Python 3.14); partialmethod is"
    if not hasattr(type(value), "__get__"):
        return f"has to be a method: a {type(value).__name__} is not given `self`"
    if isinstance(value, partialmethod):
        if _awaited(value.func) != _awaited(theirs):
            return "has to be `async def`, as the kernel's" if _awaited(theirs) else "must not be `async def`"
        return _arguments(getattr(owner, name), theirs, 0)
    return ""


def _refused(owner: type, name: str, function: FunctionType | None, text: str) -> PatchError:
    if function is not None:
        path, line = function.__code__.co_filename, function.__code__.co_firstlineno
    else:
        path, line = _place(owner, name)
    where = f"{shown(path)}:{line}: " if path else ""
    return PatchError(f"{where}{owner.__name__}.{name}: {text}")


def _place(owner: type, name: str) -> tuple[str, int]:
    """File and line of an assignment in a class."""
    try:
        lines, first = inspect.getsourcelines(owner)
        path = inspect.getsourcefile(owner) or ""
    except (OSError, TypeError):
        return "", 0
    for number, text in enumerate(lines, first):
        if text.strip().startswith(name):
            return path, number
    return path, first


def _why_not(cls: type[Kernel], name: str, version: Any, has: bool, versions: dict[str, type[Kernel]]) -> str:
    """Why a function never runs, which version has it or calls it, and the nearest name that does run."""
    from ..arch.registry import ARCHES

    mine = reached(version)
    elsewhere = [each for each, other in versions.items() if name in reached(other).names]
    if has:
        text = f"{version.name} never calls {name}"
    elif any(hasattr(arch, name) for arch in ARCHES.values()):
        text = f"{name} is a function of the arch actors (arch/), which a patch class does not override"
        return f"{text}; override the kernel's function that calls it (`gmemsim show {version.name} --all`)"
    else:
        text = f"{version.name} has no function {name}, and nothing calls it"
    parts = [text]
    if elsewhere:
        parts.append(f"it is called in {', '.join(elsewhere)}")
        by = reached(versions[elsewhere[0]]).callers.get(name, frozenset()) & mine.names
        if has and by:
            parts.append(f"here {', '.join(sorted(by))} does without it")
    near = get_close_matches(name, mine.names, 1, 0.4)
    if not near:
        every = {other for each in versions.values() for other in reached(each).names}
        near = get_close_matches(name, every, 1, 0.4)
        if near:
            has_it = [each for each, other in versions.items() if near[0] in reached(other).names]
            parts.append(f"the nearest name is {near[0]}, of {', '.join(has_it)}")
    elif has or elsewhere:
        parts.append(f"the nearest that {version.name} calls is {near[0]}")
    else:
        parts.append(f"did you mean {near[0]}, which {version.name} calls?")
    return "; ".join(parts)


def _differs(mine: FunctionType, theirs: FunctionType, value: Any, base: Any) -> str:
    """How the function cannot stand for the version's; empty if it can."""
    is_property, was_property = isinstance(value, property), isinstance(base, property)
    if is_property != was_property:
        return "is a property" if is_property else "has to be a property"
    if inspect.isasyncgenfunction(mine):
        return "is an async generator: it has a `yield`"
    if _awaited(theirs) and not _awaited(mine):
        return "has to be `async def`, as the kernel's"
    if _awaited(mine) and not _awaited(theirs):
        return "must not be `async def`: the kernel's is not, and nobody would await it"
    return _arguments(mine, theirs, isinstance(base, staticmethod) - isinstance(value, staticmethod))


def _awaited(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or bool(
        function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE
    )


def _arguments(mine: Any, theirs: FunctionType, more: int) -> str:
    """Whether every call that fits the version's function fits mine.

    Args:
        more: 1 if mine gets `self` where the version's does not, -1 the other way round.
    """
    wanted = list(inspect.signature(theirs).parameters.values())
    mine_takes = inspect.signature(mine)
    plain = [each for each in wanted if each.kind not in (*_VARIADIC, inspect.Parameter.KEYWORD_ONLY)]
    only = {each.name for each in wanted if each.kind is inspect.Parameter.KEYWORD_ONLY}
    optional = [each.name for each in plain if each.default is not inspect.Parameter.empty]
    required = len(plain) - len(optional)
    calls: list[tuple[int, set[str]]] = [
        (required, only),
        (len(plain), only),
        (required, only | set(optional)),
    ]
    if any(each.kind in _VARIADIC for each in wanted):
        calls = calls[:1]
    for count, names in calls:
        try:
            mine_takes.bind(*range(count + more), **dict.fromkeys(names))
        except TypeError:
            return f"has to take {_text(plain[1:] if more < 0 else plain, only)}"
    return ""


def _text(plain: list[inspect.Parameter], only: set[str]) -> str:
    names = [
        each.name if each.default is inspect.Parameter.empty else f"{each.name}={each.default!r}"
        for each in plain
    ]
    return f"({', '.join([*names, *(['*', *sorted(only)] if only else [])])})"
