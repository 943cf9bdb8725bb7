"""What a function of a user's patch returns, held against the version's function that it overrides.

A result of the wrong type shows in the function that gets it, or nowhere: None is as good as 0 to many a test. So it is
an error where it is returned, with the user's line. A negative number that is no errno is one as well. An errno that
the function returns in no version may be what the patch is for: it is said beside the verdict (`entered`).
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..actors.errno import ERRNOS
from ..engine.blame import Blame, shown
from .call_graph import used_names
from .entered import note_errno
from .sources import defined_as, function_of, node_of, ours, own_functions

if TYPE_CHECKING:
    from types import FunctionType

    from ..actors.kernel import Kernel

#: Numbers of the kernel's own that never reach user space (`include/linux/errno.h`).
_INTERNAL: Final = range(512, 532)
_CONTAINERS: Final = {"tuple": tuple, "list": list, "dict": dict, "set": set, "frozenset": frozenset}
_ARCH: Final = Path(__file__).parents[1] / "arch"

#: Functions whose result, or the first of it, is 0 or a negative errno in every version, and never a number of pages, a
#: level or a `RetPf`: to a caller that asks whether it is 0 a positive number is a failure, to the VMM it is none.
_ZERO_OR_ERRNO: Final = frozenset(
    {
        "_bind", "_fallocate", "_launch_finish", "_set_region", "check_memory_region", "check_memory_region_flags",
        "kvm_arch_prepare_memory_region",
        "collapse_file", "do_ftruncate", "kvm_gmem_migrate_folio", "kvm_rmp_make_shared", "mbind",
        "sev_es_sync_vmsa", "sev_snp_ap_creation",
        "kvm_arch_gmem_make_private", "kvm_gmem_allocate", "kvm_gmem_bind", "kvm_gmem_commit_memory_region",
        "kvm_gmem_fallocate", "kvm_gmem_get_file_pfn", "kvm_gmem_get_locked_pfn", "kvm_gmem_get_pfn",
        "kvm_gmem_make_huge_ready", "kvm_gmem_make_private", "kvm_gmem_make_ready", "kvm_gmem_populate_copy",
        "kvm_gmem_populate_one", "kvm_gmem_populate_page", "kvm_gmem_prepare_again", "kvm_gmem_prepare_folio",
        "kvm_gmem_prepare_memory_region", "kvm_gmem_punch_hole", "kvm_gmem_punch_range", "kvm_gmem_punch_shared",
        "kvm_gmem_restructure", "kvm_gmem_split_private", "kvm_set_memory_region", "kvm_create_memslot",
        "kvm_delete_memslot", "kvm_split_cross_boundary_leafs", "kvm_tdp_mmu_map_private_pfn",
        "kvm_vcpu_pre_fault_memory", "kvm_vm_ioctl_set_mem_attributes", "kvm_vm_ioctl_set_memory_region",
        "kvm_vm_set_mem_attributes", "launch_finish", "launch_update_lock", "memory_failure", "merge_folio",
        "merge_range", "post_populate", "snp_launch_update_vmsa", "split_folio", "split_range",
    }
)  # fmt: skip


class WrongResult(Exception):
    """A function of a patch returned what the version's function cannot.

    Attributes:
        place: of the `return`, if there is one only, else of the function.
    """

    def __init__(self, text: str, place: Blame) -> None:
        super().__init__(text)
        self.place = place


def guard_results(cls: type[Kernel]) -> None:
    """Have every function of a user's class that overrides a version's look at what it returns."""
    for owner, name, function in list(own_functions(cls)):
        value = vars(owner)[name]
        model = next((each for each in cls.__mro__ if ours(each) and name in vars(each)), None)
        theirs = None if model is None else function_of(vars(model)[name])
        plain = getattr(value, "__func__", value)
        if model is None or theirs is None or plain is not function:
            continue
        expected = theirs.__annotations__.get("return")
        if not isinstance(expected, str) or expected in ("Any", "None", "object"):
            continue
        guarded = _guarded(function, defined_as(model, name), name, expected)
        setattr(owner, name, type(value)(guarded) if plain is not value else guarded)


def _guarded(function: FunctionType, model: str, name: str, expected: str) -> Any:
    wanted = ast.parse(expected, mode="eval").body
    object_or_errno = _object_or_errno(wanted)

    def look(result: Any) -> None:
        if not _fits(result, wanted):
            given = "nothing" if result is None else f"{result!r:.60}"
            raise _wrong(function, name, f"returned {given}; expected {expected}, as {model}")
        for number in result if result.__class__ is tuple else (result,):
            if number.__class__ is int and number < 0:
                _look_at_errno(function, name, number)
        first = result[0] if result.__class__ is tuple and result else result
        if object_or_errno and result.__class__ is int and result >= 0:
            raise _wrong(
                function, name, f"returned {result}; expected {expected}, the number a negative errno"
            )
        if name in _ZERO_OR_ERRNO and first.__class__ is int and first > 0:
            raise _wrong(function, name, f"returned {first}; expected 0 or a negative errno, as {model}")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def _fitting(*args: Any, **options: Any) -> Any:
            result = await function(*args, **options)
            look(result)
            return result

    else:

        @functools.wraps(function)
        def _fitting(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            look(result)
            return result

    _fitting.__dict__["stands_for"] = function
    return _fitting


def _look_at_errno(function: FunctionType, name: str, number: int) -> None:
    if number not in ERRNOS and -number not in _INTERNAL:
        raise _wrong(function, name, f"returned {number}, which is no errno")
    known = errnos_of(name)
    if known and number not in known:
        note_errno(name, number)


def _wrong(function: FunctionType, name: str, text: str) -> WrongResult:
    code = function.__code__
    node = node_of(function)
    returns = [] if node is None else [each for each in ast.walk(node) if isinstance(each, ast.Return)]
    line = returns[0].lineno if len(returns) == 1 else code.co_firstlineno
    place = Blame(shown(code.co_filename), line, name, ())
    return WrongResult(f"{place}: {text}", place)


# -- types -------------------------------------------------------------------------------------


def _fits(value: Any, wanted: ast.expr) -> bool:
    """Whether a value is of a type as annotations of the kernel's functions write it; what is not known fits."""
    match wanted:
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="int" | "bool"):
            # As in C, either is good for the other.
            return isinstance(value, int)
        case ast.Name(id="str"):
            return isinstance(value, str)
        case ast.Name(id=name):
            if name in _CONTAINERS:
                return isinstance(value, _CONTAINERS[name])
            return any(cls.__name__ == name for cls in type(value).__mro__) or not _is_class(name)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=parts)) if not any(
            isinstance(part, ast.Constant) and part.value is ... for part in parts
        ):
            if not isinstance(value, tuple) or len(value) != len(parts):
                return False
            return all(_fits(*each) for each in zip(value, parts, strict=True))
        case ast.Subscript(value=ast.Name(id=name)) if name in _CONTAINERS:
            return isinstance(value, _CONTAINERS[name])
    return True


def _object_or_errno(wanted: ast.expr) -> bool:
    """An object of a class, or a number that says why there is none (`ERR_PTR`)."""
    match wanted:
        case ast.BinOp(op=ast.BitOr(), left=ast.Name(id=name), right=ast.Name(id="int")):
            return name[:1].isupper()
    return False


@cache
def _is_class(name: str) -> bool:
    """Whether the package has a class of that name."""
    package = __name__.partition(".")[0]
    modules = [module for key, module in list(sys.modules.items()) if key.partition(".")[0] == package]
    return any(isinstance(vars(module).get(name), type) for module in modules)


# -- errnos ------------------------------------------------------------------------------------


@cache
def errnos_of(name: str) -> frozenset[int]:
    """Errnos that a function of the kernel may return in some version: its own, and those of all that it may call."""
    from .registry import versions

    names = set(used_names(name, tuple(versions().values())))
    if "arch" in names:
        names |= _below_hooks(frozenset(names))
    return frozenset(number for number, each in ERRNOS.items() if each in names)


def _below_hooks(names: frozenset[str]) -> set[str]:
    """Identifiers in the arch actors' functions of these names, and in what those may call."""
    functions = _arch_functions()
    found: set[str] = set()
    todo = [name for name in names if name in functions]
    while todo:
        name = todo.pop()
        fresh = {
            inner.attr if isinstance(inner, ast.Attribute) else inner.id
            for node in functions[name]
            for inner in ast.walk(node)
            if isinstance(inner, (ast.Attribute, ast.Name))
        }
        todo += [each for each in fresh - found - names if each in functions]
        found |= fresh
    return found


@cache
def _arch_functions() -> dict[str, list[ast.AST]]:
    found: dict[str, list[ast.AST]] = {}
    for path in sorted(_ARCH.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.setdefault(node.name, []).append(node)
    return found
