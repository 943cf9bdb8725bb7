"""Versions and operations that findings speak of together."""

from __future__ import annotations

from typing import Final

#: With the v3 of the series under them; nobody posted the last two.
V3_LIKE: Final = ("v3", "tracked", "tracked-shared")
#: Private or shared is an attribute of the VM.
ATTRIBUTES: Final = ("baseline", "v1", "v2", *V3_LIKE, "mainline-7.3")
#: A slot of a dying file is unbound without the invalidate lock; Linux 7.3 takes it.
LOCKLESS_UNBIND: Final = ("baseline", "v1", "v2", *V3_LIKE, "inplace-v8")
#: Private or shared is an attribute of the file's pages.
IN_PLACE: Final = ("inplace-v8", "inplace", "inplace-content")
HUGE: Final = (
    "hugepage",
    "hugepage-mutex",
    "hugepage-staged",
    "hugepage-populate",
    "hugepage-tracked",
    "hugepage-notifier",
)
HUGE_WITHOUT_MUTEX: Final = ("hugepage", "hugepage-populate", "hugepage-tracked", "hugepage-notifier")
ALL_VERSIONS: Final = (*ATTRIBUTES, *IN_PLACE, "inplace-off", *HUGE)

#: Operations of a scenario in which a vCPU faults, and those in which the host does.
BY_VCPU: Final = frozenset({"touch", "read", "write", "accept", "prefault"})
BY_HOST: Final = frozenset({"host_touch", "host_read", "host_write", "pin"})
