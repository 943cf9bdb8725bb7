"""What is left out is left out of the model only, and not of a user's functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.actors import gmem_populate
from gmemsim.explore.state.ignored import locals_left_out, only_counts
from gmemsim.scenarios.guest import access as guest_access

if TYPE_CHECKING:
    from types import FunctionType


async def kvm_gmem_populate(ident: int) -> int:
    return ident


async def access() -> None:
    for _ in range(2):
        pass


def of(function: FunctionType) -> tuple[frozenset[str], bool]:
    code = function.__code__
    return locals_left_out(code, code.co_name), only_counts(code, code.co_name)


def test_of_the_model() -> None:
    assert of(gmem_populate.kvm_gmem_populate) == (frozenset({"ident"}), False)  # type: ignore[arg-type] # it is a function
    assert of(guest_access) == (frozenset(), True)  # type: ignore[arg-type] # as above


def test_of_a_user() -> None:
    """A local of the same name in a function of the same name may decide what comes."""
    assert of(kvm_gmem_populate) == (frozenset(), False)  # type: ignore[arg-type] # as above
    assert of(access) == (frozenset(), False)  # type: ignore[arg-type] # as above
