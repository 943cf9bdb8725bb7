"""What operations have in common: names, ids, expectations, ranges of pages."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Index = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
#: A range of pages is walked page by page: 4 GiB is more than any scenario needs.
Pages = Annotated[int, Meta(ge=1, le=1 << 20)]
Ident = Annotated[str, Meta(pattern="^[A-Za-z0-9_.@-]+$")]
Expectation = str | list[str]


def _tag(name: str) -> str:
    """`HostRead` is written `host_read`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


class Op(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag=_tag, forbid_unknown_fields=True):
    """What every operation may have.

    Attributes:
        id: call id within the task, 1 to 999; default: its position. Stays with the operation when others are
            deleted, so recorded choices stay with it too.
        expect: the outcomes that are right (`"ok"`, `"EINVAL"`, `"SIGBUS"`, …); any other is a violation.
    """

    id: Annotated[int, Meta(ge=0, le=999)] = 0
    expect: Expectation | None = None

    @property
    def name(self) -> str:
        tag = self.__struct_config__.tag
        return str(tag)


class PageRange(Op, frozen=True, kw_only=True):
    """A range of pages, whole or in parts.

    Attributes:
        start, count: pages.
        slice: only this instance's share of the range (the task's instances divide it evenly).
        chunk: not the whole range but one aligned chunk of so many pages, another one each round.
        pick: which chunk: `next`, or `random` (from seed, task and round; the same for all operations of a
            round).
        reroll: pick independently of the other operations of the round.
    """

    start: Index = 0
    count: Pages | None = None
    slice: bool = False
    chunk: Pages | None = None
    pick: str = "random"
    reroll: bool = False


class GuestRange(PageRange, frozen=True, kw_only=True):
    """Guest frames of a slot, or from frame `gfn` on (then anything goes, memory or not)."""

    slot: Index | None = None
    gfn: Index | None = None


class GuestAccess(GuestRange, frozen=True, kw_only=True):
    """A guest load or store of each page.

    Attributes:
        private: the kind of access where hardware has a bit for it (SNP, TDX); default: what the guest knows.
        pace: guest time per access.
    """

    private: bool | None = None
    pace: int | str | None = None


class FileRange(PageRange, frozen=True, kw_only=True):
    """Pages of a file; or, with `offset` and `length`, raw bytes that are not checked."""

    file: Ident | None = None
    offset: int | None = None
    length: int | None = None


class MapRange(PageRange, frozen=True, kw_only=True):
    """Pages of a host mapping."""

    map: Ident | None = None
    pace: int | str | None = None


class HostAccess(MapRange, frozen=True, kw_only=True):
    """A host load or store of each page; `buffer`: of an ordinary buffer's in place of a mapping's."""

    buffer: Ident | None = None


class MapBytes(MapRange, frozen=True, kw_only=True):
    """Pages of a host mapping; or, with `offset` and `length`, raw bytes that are not checked."""

    offset: int | None = None
    length: int | None = None
