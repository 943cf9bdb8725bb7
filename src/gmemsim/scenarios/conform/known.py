"""Vectors that the model does not meet, and why: each is a decision, not an oversight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .vector import Vector


class Miss(NamedTuple):
    """Where the model decides against a vector.

    Attributes:
        vm_types: on which it does; empty: on all.
        why: the reason, with its source.
        patches: patch versions on which it does; empty: on all.
    """

    vm_types: frozenset[str]
    why: str
    patches: frozenset[str] = frozenset()


KNOWN_MISSES: Final[dict[str, Miss]] = {
    "tdx-implicit-to-shared-read": Miss(
        frozenset({"tdx"}),
        "an RFC's test saw zeros in a TDX page that became shared; v6 to v8 promise nothing about bytes, and the page "
        "of a removed leaf is the guest's ciphertext to the host unless the host clears it, which the kernel does only "
        "on CPUs with the partial-write machine check (notes on the vectors, item 2)",
    ),
    "tdx-populate-null-source-v3": Miss(
        frozenset({"tdx"}),
        "the callback of 7.2 refuses a missing source; 7.3.4 does so in KVM_TDX_INIT_MEM_REGION itself, with EINVAL "
        "(tdx_vcpu_init_mem_region, read there). The vector was derived before 7.3",
        frozenset({"mainline-7.3"}),
    ),
}


def explanation(vector: Vector, vm_type: str, patch: str) -> str:
    """Why a miss of this vector on this VM type and patch version is expected; empty if it is not."""
    miss = KNOWN_MISSES.get(vector.id)
    if miss is None or (miss.vm_types and vm_type not in miss.vm_types):
        return ""
    return "" if miss.patches and patch not in miss.patches else miss.why
