"""A version is one page: one class on top of the version before it, and every function in a module is in a class."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from tests.model.large_rig import LargeRig
from tests.model.rig import Rig

from gmemsim import actors, patches
from gmemsim.actors.huge_cache import HugeCache
from gmemsim.actors.kernel import Kernel
from gmemsim.patches.by_file import by_file
from gmemsim.patches.call_graph import reached
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.registry import versions
from gmemsim.patches.sources import defined_as, function_of


@pytest.mark.parametrize("name", versions())
def test_a_version_stands_on_the_one_before_it(name: str) -> None:
    cls = versions()[name]
    known = set(versions().values())
    for each in cls.__mro__[:-2]:
        assert each in known
        assert len(each.__bases__) == 1
    assert cls.__mro__[-2:] == (Kernel, object)


def kernel_functions(package: Any) -> list[FunctionType]:
    """Functions of a folder's modules that take a kernel as `self`."""
    found = []
    for path in sorted(Path(package.__path__[0]).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.args:
                first = node.args.args[0]
                if first.arg == "self":
                    module = importlib.import_module(f"{package.__name__}.{path.stem}")
                    found.append(getattr(module, node.name))
    return found


def test_every_function_of_the_kernel_is_in_its_table() -> None:
    functions = kernel_functions(actors)
    assert len(functions) > 200
    table = set(map(function_of, vars(Kernel).values()))
    assert [each.__name__ for each in functions if each not in table] == []


def test_every_function_that_versions_add_is_on_a_page() -> None:
    functions = kernel_functions(patches)
    assert len(functions) > 60
    pages = {function_of(value) for cls in versions().values() for value in vars(cls).values()}
    assert [each.__name__ for each in functions if each not in pages] == []


def test_functions_stand_under_their_own_names() -> None:
    """In the table of the kernel a name is that of the function, so that it is found by its name."""
    for name, value in vars(Kernel).items():
        function = function_of(value)
        assert function is None or name == function.__name__


def test_a_function_is_that_of_the_class_that_names_it() -> None:
    assert defined_as(Inplace, "kvm_gmem_unbind") == "Inplace.kvm_gmem_unbind"
    assert defined_as(Inplace, "kvm_gmem_get_pfn") == "Baseline.kvm_gmem_get_pfn"
    assert defined_as(Inplace, "filemap_get_folio") == "Kernel.filemap_get_folio"


def small(self: Any, t: Any, inode: Any, more: int = 0) -> tuple[str, int]:
    return "other", more


def large(self: Any, t: Any, inode: Any, more: int = 0) -> tuple[str, int]:
    return "huge", more


def of_a_file(self: Any, file: Any) -> str:
    return "huge"


def test_the_file_decides_however_it_is_passed() -> None:
    class Chosen(Hugepage):
        chosen = by_file(large, small)
        of_a_file = by_file(of_a_file, lambda self, file: "other")

    huge, other = LargeRig(Chosen), Rig(Chosen, "private")
    assert isinstance(huge.inode.folios, HugeCache)
    for machine, expected in ((huge, "huge"), (other, "other")):
        kernel: Any = machine.kernel
        assert kernel.chosen(None, machine.inode, 1) == (expected, 1)
        assert kernel.chosen(None, inode=machine.inode, more=2) == (expected, 2)
        assert kernel.of_a_file(machine.inode.files[0]) == expected


def test_both_functions_of_a_file_can_run_and_the_first_is_shown() -> None:
    value = vars(Hugepage)["kvm_gmem_convert"]
    function = function_of(value)
    assert function is not None
    assert function.__module__.endswith("huge_convert")
    assert inspect.signature(value) == inspect.signature(function)
    definitions = reached(Hugepage).definitions
    owners = {owner.__name__ for owner, name in definitions if name == "kvm_gmem_convert"}
    assert owners == {"Hugepage", "InplaceV8"}
