"""Vectors that the model does not meet, and why: each is a decision, not an oversight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .vector import Vector

__all__ = ["KNOWN_MISSES", "Miss", "explanation"]


class Miss(NamedTuple):
    """Where the model decides against a vector.

    Attributes:
        vm_types: on which it does; empty: on all.
        why: the reason, with its source.
    """

    vm_types: frozenset[str]
    why: str


KNOWN_MISSES: Final[dict[str, Miss]] = {
    "tdx-implicit-to-shared-read": Miss(
        frozenset({"tdx"}),
        "an RFC's test saw zeros in a TDX page that became shared; v6 to v8 promise nothing about bytes, and the page "
        "of a removed leaf is the guest's ciphertext to the host unless the host clears it, which the kernel does only "
        "on CPUs with the partial-write machine check (notes on the vectors, item 2)",
    ),
    "prepare-zero-before-first-use": Miss(
        frozenset({"snp"}),
        "the host zeroes the page with its own key before it is assigned, so an SNP guest that reads it with its key "
        "sees ciphertext; the guest has to clear memory that it accepts (arch.md §1.6). The vector carries over what "
        "was seen on VM types without memory encryption",
    ),
}


def explanation(vector: Vector, vm_type: str) -> str:
    """Why a miss of this vector on this VM type is expected; empty if it is not."""
    miss = KNOWN_MISSES.get(vector.id)
    if miss is None or (miss.vm_types and vm_type not in miss.vm_types):
        return ""
    return miss.why
