"""Functions of a version that depend on the file, a table of two, as a mapping has `struct address_space_operations`.

    kvm_gmem_convert = by_file(huge_convert.kvm_gmem_convert, Inplace.kvm_gmem_convert)

is a function of the version: the first for a file with huge folios, the second for every other. Which file it is says
its parameter `inode`, `file` or `mapping`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..actors.huge_cache import HugeCache

F = TypeVar("F", bound="Callable[..., Any]")


def by_file(huge: F, other: F) -> F:
    """The method that hands its arguments to one of the two.

    It stands for `huge` where functions are looked at (`sources.function_of`), with `other` behind it as if by
    `super()`.
    """
    parameters = list(inspect.signature(huge).parameters)
    name = next(each for each in ("inode", "file", "mapping") if each in parameters)
    place = parameters.index(name) - 1

    if name == "inode":

        def operation(self: Any, *args: Any, **options: Any) -> Any:
            inode = args[place] if len(args) > place else options[name]
            if isinstance(inode.folios, HugeCache):
                return huge(self, *args, **options)
            return other(self, *args, **options)

    else:

        def operation(self: Any, *args: Any, **options: Any) -> Any:
            owner = args[place] if len(args) > place else options[name]
            if isinstance(owner.inode.folios, HugeCache):
                return huge(self, *args, **options)
            return other(self, *args, **options)

    functools.update_wrapper(operation, huge)
    operation.__dict__.update(stands_for=huge, otherwise=other)
    return cast("F", operation)
