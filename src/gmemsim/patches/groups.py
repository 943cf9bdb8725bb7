"""Versions that are spoken of together."""

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
