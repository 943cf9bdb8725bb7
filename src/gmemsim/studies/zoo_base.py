"""The zoo on a user's patch: which bugs can be seeded into it at all, and what of the patch is left with the bug.

A seed is a subclass of the patch. It says nothing of the patch where none of its functions can be called there (the
patch has replaced their callers), and it takes the place of functions of the patch that it does not call itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..patches.call_graph import reached
from ..patches.registry import load_patch, registered_name
from ..patches.sources import function_of, own_functions

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from ..patches.zoo.entry import Bug


def is_parent(bug: Bug, patch: str) -> bool:
    """Whether it is known what comes of the bug there: the patch is or derives from a version that the entry names."""
    return bug.policy is not None or (
        patch in bug.versions or registered_name(load_patch(patch)) in bug.versions
    )


def not_seeded(bug: Bug, base: str) -> str:
    """Why the bug is not asked of a patch; empty if it is."""
    if not bug.expressible:
        return bug.why_not
    if bug.policy is not None or bug.make is None:
        return f"is a bug of the lock {bug.policy.__name__}, whatever the patch"
    cls = load_patch(base)
    version = registered_name(cls)
    parents = [load_patch(name) for name in bug.versions]
    if version not in bug.versions and not any(issubclass(cls, parent) for parent in parents):
        of = "is none of them" if version == base else f"derives from {version}"
        return f"is seeded into {' and '.join(bug.versions)}, and {base} {of}"
    seeded = bug.make(cls)
    if seeded is cls:
        return ""
    functions = {(owner, name) for owner in _seed(cls, seeded) for name in _functions(owner)}
    definitions = reached(seeded).definitions
    if functions and not functions & definitions:
        names = ", ".join(sorted({name for _, name in functions}))
        return f"changes {names}, which nothing calls in {base}"
    return ""


def taken_away(bug: Bug, base: str) -> tuple[str, ...]:
    """Functions of the patch that can run, and cannot when the bug is in."""
    cls = load_patch(base)
    if bug.make is None:
        return ()
    before, after = reached(cls).definitions, reached(bug.make(cls)).definitions
    own = {(owner, name) for owner, name, _ in own_functions(cls)}
    return tuple(sorted(name for owner, name in own & before - after))


def _seed(cls: type[Kernel], seeded: type[Kernel]) -> list[type]:
    return [owner for owner in seeded.__mro__ if owner not in cls.__mro__]


def _functions(owner: type) -> list[str]:
    return [name for name, value in vars(owner).items() if function_of(value) and not name.startswith("__")]
