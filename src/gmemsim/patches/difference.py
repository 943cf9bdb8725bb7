"""In which functions a version differs from another: what a patch of the series is, read from its classes.

Only functions that the version can run count (`call_graph`): one that it inherits and never calls is not part of it.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from .call_graph import Reached, reached
from .sources import defined_as, function_of

if TYPE_CHECKING:
    from types import FunctionType

    from ..actors.kernel import Kernel

#: How the names of the kernel's own functions begin; other functions of the model are parts of one.
_KERNEL: Final = (
    "__", "direct_", "do_", "fault_", "filemap_", "folio_", "handle_", "hugetlb", "kvm_", "memory_failure", "me_",
    "mmu_", "sev_", "snp_", "tdh_", "tdp_", "tdx_", "truncate_", "unmap_", "vcpu_", "vt_",
)  # fmt: skip


@attrs.frozen
class Definition:
    """One definition of a function that a version runs.

    Attributes:
        qualname: class and function.
        file: of the source, as Python knows it.
        line: where it begins.
        says: the first line of its docstring; empty if it has none.
        source: its text; empty where there is none.
    """

    qualname: str
    file: Path
    line: int
    says: str
    source: str


@attrs.frozen
class Difference:
    """A function that two versions run differently.

    Attributes:
        name: of the function.
        kernel: the kernel functions that it is part of, or itself if the kernel has it; none if nothing leads to one.
        before: definitions that the other version runs, nearest first, those behind `super()` after it; may be empty.
        after: those of the version that is shown; may be empty.
    """

    name: str
    kernel: tuple[str, ...]
    before: tuple[Definition, ...]
    after: tuple[Definition, ...]

    @property
    def kind(self) -> str:
        """`added`, `gone` or `changed`."""
        return "changed" if self.before and self.after else "added" if self.after else "gone"


def predecessor(cls: type[Kernel], versions: dict[str, type[Kernel]]) -> type[Kernel] | None:
    """The version that `cls` was made from: the nearest of its parents that is one; None for the first."""
    named = set(versions.values())
    return next((each for each in cls.__mro__[1:] if each in named), None)


def differences(cls: type[Kernel], other: type[Kernel]) -> list[Difference]:
    """Functions that `cls` runs and `other` does not run so, or the other way round, by kernel function and name."""
    after, before = reached(cls), reached(other)
    found = []
    for name in sorted(after.names | before.names):
        here, there = _definitions(cls, after, name), _definitions(other, before, name)
        if [one.__code__ for _, one in here] != [one.__code__ for _, one in there]:
            kernel = _kernel_functions(name, after if here else before)
            found.append(Difference(name, kernel, _described(there), _described(here)))
    return sorted(found, key=lambda one: (one.kernel or (one.name,), one.name))


def functions(cls: type[Kernel]) -> list[Difference]:
    """Every function that `cls` can run, as if it were compared with nothing."""
    graph = reached(cls)
    return [
        Difference(name, _kernel_functions(name, graph), (), _described(_definitions(cls, graph, name)))
        for name in sorted(graph.names)
        if not name.startswith("__")
    ]


def never_called(cls: type[Kernel]) -> list[Definition]:
    """What the class itself defines and nothing calls; of a user's patch that is refused when it is loaded."""
    graph = reached(cls)
    return [
        _definition(defined_as(cls, name), function)
        for name, value in vars(cls).items()
        if not name.startswith("__") and (cls, name) not in graph.definitions
        for function in (function_of(value),)
        if function is not None
    ]


def constants(cls: type[Kernel], other: type[Kernel]) -> dict[str, tuple[Any, Any]]:
    """Values of the classes that differ: by name, the one of `other` and that of `cls`; None where there is none."""
    names = {name for name in (*dir(cls), *dir(other)) if not name.startswith("__") and name != "name"}
    pairs = {name: (_value(other, name), _value(cls, name)) for name in sorted(names)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _value(cls: type[Kernel], name: str) -> Any:
    """A class's attribute, if it is no function."""
    value = getattr(cls, name, None)
    return None if function_of(value) is not None or hasattr(value, "__get__") else value


def _definitions(cls: type[Kernel], graph: Reached, name: str) -> list[tuple[str, FunctionType]]:
    """Each with the name that it has as a method."""
    found = []
    for each in cls.__mro__:
        if (each, name) in graph.definitions:
            function = function_of(vars(each)[name])
            if function is not None:
                found.append((defined_as(each, name), function))
    return found


def _described(found: list[tuple[str, FunctionType]]) -> tuple[Definition, ...]:
    return tuple(_definition(*one) for one in found)


def _definition(qualname: str, function: FunctionType) -> Definition:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    says = (inspect.getdoc(function) or "").partition("\n")[0]
    code = function.__code__
    return Definition(qualname, Path(code.co_filename), code.co_firstlineno, says, source)


def _kernel_functions(name: str, graph: Reached) -> tuple[str, ...]:
    """The nearest callers whose names are those of kernel functions; the function itself if its name is."""
    level, seen = {name}, {name}
    while level:
        found = sorted(each for each in level if each.startswith(_KERNEL) and not each.endswith("__"))
        if found:
            return tuple(found)
        level = {caller for each in level for caller in graph.callers.get(each, ())} - seen
        seen |= level
    return ()


def shown_path(path: Path) -> str:
    """A file of the package from its folder on; a user's as it is."""
    package = Path(__file__).parents[1]
    return str(path.relative_to(package.parent)) if path.is_relative_to(package) else str(path)
