"""The sequential model of a page that `linearizability` checks against: what each call may lead to.

A function here makes the effect of one call with the result that it had: from a state to the states that may follow,
none if the result is impossible there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from ...arch.memory import STALE, ZERO

#: Failures that change nothing on any page.
_REFUSED: Final = frozenset({"EINVAL", "EBADF", "EOPNOTSUPP", "ENOTTY", "EPERM"})


@attrs.frozen
class Page:
    """State of the sequential model.

    Attributes:
        content: None: whatever hardware leaves there; a load may see anything, until the next store.
        beside: the shared memory beside the file; None: not known yet.
    """

    present: bool
    content: str | None
    beside: str | None
    private: bool


def access(
    inside: bool | None, good: bool, single: bool, seen: str | None, stored: str | None
) -> Callable[[Page], list[Page]]:
    """An access in the file (`inside`), or (None) where the attribute says."""

    def done(page: Page) -> list[Page]:
        if page.private if inside is None else inside:
            if seen is not None and stored is None and page.content not in {None, seen}:
                return []
            return [attrs.evolve(page, present=True, content=page.content if stored is None else stored)]
        if stored is not None:
            page = attrs.evolve(page, beside=stored)
        elif seen is not None:
            if page.beside not in {None, seen}:
                return []
            page = attrs.evolve(page, beside=seen)
        return maybe(page)

    def effect(page: Page) -> list[Page]:
        if good:
            return done(page)
        # Of several pages only the first failure is known: this one may have been reached, or not.
        return maybe(page) if single else [*maybe(page), *done(page)]

    return effect


def host_access(
    good: bool, refused: bool, effect: Callable[[Page], list[Page]]
) -> Callable[[Page], list[Page]]:
    """An access through a mapping of a file that is converted in place: while shared it goes through, else SIGBUS."""

    def in_the_open(page: Page) -> list[Page]:
        if good:
            return [] if page.private else effect(page)
        if refused:
            # An earlier attempt of the same access may have put a page there.
            return maybe(page) if page.private else []
        return effect(page)

    return in_the_open


def forgets(effect: Callable[[Page], list[Page]]) -> Callable[[Page], list[Page]]:
    """The same where what is left of the content is the hardware's affair."""
    return lambda page: [attrs.evolve(after, content=None) for after in effect(page)]


def maybe(page: Page) -> list[Page]:
    """Nothing, or a page is left behind."""
    return [page] if page.present else [page, attrs.evolve(page, present=True)]


def punch(outcome: str) -> Callable[[Page], list[Page]]:
    """PUNCH_HOLE that came to `outcome`."""

    def effect(page: Page) -> list[Page]:
        gone = attrs.evolve(page, present=False, content=ZERO)
        if outcome == "ok":
            return [gone]
        return [page] if outcome in _REFUSED else [page, gone]

    return effect


def allocate(outcome: str) -> Callable[[Page], list[Page]]:
    """An allocation that came to `outcome`."""

    def effect(page: Page) -> list[Page]:
        if outcome == "ok":
            return [attrs.evolve(page, present=True)]
        return [page] if outcome in _REFUSED else maybe(page)

    return effect


def convert(
    private: bool, good: bool, *, keyed: bool = False, spares: bool = True, whole: bool = True
) -> Callable[[Page], list[Page]]:
    """A conversion.

    Args:
        keyed: hardware keeps private memory apart: what a page holds once it is of the other kind is not known.
        spares: a page that had the kind already keeps its content (not so on TDX where both kinds are zapped).
        whole: one call: if it failed it changed nothing. Else part of it may have been done.
    """

    def done(page: Page) -> Page:
        kept = not keyed or (spares and page.private == private)
        return attrs.evolve(page, private=private, content=page.content if kept else None)

    def effect(page: Page) -> list[Page]:
        if good:
            return [done(page)]
        return [page] if whole else [page, done(page)]

    return effect


def perhaps(effect: Callable[[Page], list[Page]], page: Page) -> list[Page]:
    """It happened, or it did not."""
    return [page, *effect(page)]


def perhaps_converted(keyed: bool) -> Callable[[Page], list[Page]]:
    """The VMM may have converted the page to the other kind."""

    def effect(page: Page) -> list[Page]:
        return [page, *convert(not page.private, True, keyed=keyed)(page)]

    return effect


def same(page: Page, final: Page) -> list[Page]:
    """The run ended in `final`."""
    content = final.content == page.content or not page.present or final.content == STALE
    content = content or page.content is None or final.content is None
    return [page] if (page.present, page.private) == (final.present, final.private) and content else []
