"""A version or a user's class with changes on top (`VERSION+NAME+NAME`), refused where a name would be a false label.

The label names every change, so each of them has to be for that version and to have effect there: a mend on a version
without its finding, a change of functions that nothing calls, and one whose function a later one replaces are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..nearest import hint
from .call_graph import reached
from .seeds import seeds
from .sources import function_of
from .user_file import PatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..actors.kernel import Kernel


def with_changes(base: type[Kernel], version: str, changes: Sequence[str], name: str) -> type[Kernel]:
    """The class with the changes, the last one outermost.

    Args:
        version: the registered version that `base` is or derives from; empty: none.
        name: of the whole, for messages.

    Raises:
        PatchError: no such change, or one that would not be what the label says.
    """
    known = seeds()
    cls = base
    added: dict[str, list[type]] = {}
    for change in changes:
        if change not in known:
            raise PatchError(
                f"patch {name!r}: no change {change!r}; "
                + hint(change, known, "see `gmemsim list bugs`, `list changes`, `list mends` and `hazards`")
            )
        if change in added:
            raise PatchError(f"patch {name!r}: {change} is named twice")
        if wrong := _not_for(change, version):
            raise PatchError(f"patch {name!r}: {wrong}")
        with_it = known[change](cls)
        added[change] = [each for each in with_it.__mro__ if each not in cls.__mro__]
        cls = with_it
        if wrong := _idle(cls, added[change]):
            raise PatchError(f"patch {name!r}: {change} has no effect on {version or base.__name__}: {wrong}")
    if wrong := _replaced(cls, added):
        raise PatchError(f"patch {name!r}: {wrong}")
    return cls


def _not_for(change: str, version: str) -> str:
    from .mends.registry import MENDS
    from .mends.versions import versions_for

    mend = MENDS.get(change)
    if mend is None or version in versions_for(mend):
        return ""
    return f"the mend {change} is for {', '.join(versions_for(mend))}, and not for {version or 'a kernel of your own'}"


def _functions(owners: Sequence[type]) -> Iterator[tuple[type, str]]:
    for owner in owners:
        for name, value in vars(owner).items():
            if function_of(value) is not None and not name.startswith("__"):
                yield owner, name


def _idle(cls: type[Kernel], owners: Sequence[type]) -> str:
    """Why a change has no effect: it has functions, and nothing calls any of them; empty: it has."""
    mine = list(_functions(owners))
    if not mine or any(not callable(value) for owner in owners for value in _values(owner)):
        return ""
    definitions = reached(cls).definitions
    if any(each in definitions for each in mine):
        return ""
    return f"nothing there calls {', '.join(sorted({name for _, name in mine}))}"


def _values(owner: type) -> Iterator[object]:
    return (value for name, value in vars(owner).items() if not name.startswith("__") and name != "name")


def _replaced(cls: type[Kernel], added: dict[str, list[type]]) -> str:
    """A function of one change that a later one overrides without calling it; empty: there is none."""
    if len(added) < 2:
        return ""
    definitions = reached(cls).definitions
    names = list(added)
    for number, first in enumerate(names):
        for owner, function in _functions(added[first]):
            for later in names[number + 1 :]:
                if (owner, function) not in definitions and any(
                    function in vars(each) for each in added[later]
                ):
                    return (
                        f"{later} replaces {function} of {first}, which would never run; ask for one of them, or write "
                        "a class of your own that does both"
                    )
    return ""
