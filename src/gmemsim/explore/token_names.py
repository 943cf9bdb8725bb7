"""Names in a token for what is an object in a program, and the digest of a patch."""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..actors.kernel import Kernel
from ..actors.release import RELEASES
from ..bad_input import BadInput
from ..engine.locks.policies import LOCK_POLICIES
from ..jobs.sources import with_imports
from ..oracles.own import adopted
from ..patches.registry import versions
from ..patches.sources import function_of, ours

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..actors.release import Release
    from ..oracles.own import Oracle


class TokenError(BadInput, ValueError):
    """A text that is no token, a token that does not fit, or a run that no token can name. One line for the user."""


def patch_name(given: str | type[Kernel], cls: type[Kernel]) -> str:
    """What `load_patch` finds the class by: a version's name, or its file. A class in a function has only a name."""
    if isinstance(given, str):
        return given
    for name, known in versions().items():
        if known is cls:
            return name
    return _named_by_file(cls)


def _named_by_file(cls: type) -> str:
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if path is not None and "." not in cls.__qualname__:
        file = Path(path)
        here = Path.cwd()
        return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def oracle_names(oracles: Iterable[str | type[Oracle]]) -> list[str]:
    """By their files."""
    return [each if isinstance(each, str) else _named_by_file(each) for each in oracles]


def oracle_digest(oracles: Iterable[str | type[Oracle]]) -> bytes:
    """Of the files that users' rules are in; empty if there are none."""
    modules = dict.fromkeys(
        owner.__module__ for cls in adopted(oracles) for owner in cls.__mro__ if not ours(owner)
    )
    return _digest(name for name in modules if name != "builtins") if modules else b""


def replay_options(program: object) -> str:
    """What `gmemsim replay` needs beside the token: a user's file is run only if the command line names it."""
    patch: Any = getattr(program, "patch", None)
    if patch is None:
        return ""
    name = patch if isinstance(patch, str) else patch_name(patch, patch)
    named = [("--patch", name)] if ".py:" in name else []
    named += [("--oracle", each) for each in oracle_names(getattr(program, "oracles", ()))]
    named += [("--operation", each) for each in getattr(program, "operations", ())]
    return "".join(f" {option} {quote(each)}" for option, each in named)


def patch_digest(cls: type[Kernel]) -> bytes:
    """Digest of the source files that the class and its parents are in, the model of the kernel included."""
    parents = [parent for parent in cls.__mro__ if issubclass(parent, Kernel)]
    functions = [function_of(value) for parent in parents for value in vars(parent).values()]
    modules = [each.__module__ for each in (*parents, *functions) if each is not None]
    return _digest(dict.fromkeys(modules))


def _digest(modules: Iterable[str]) -> bytes:
    digest = blake2b(digest_size=8)
    paths = [getattr(sys.modules.get(name), "__file__", None) for name in modules]
    there = [Path(path) for path in paths if path is not None]
    for path in with_imports(path for path in there if path.suffix == ".py" and path.is_file()):
        # Line ends as Python sees them: the same checkout on another system has the same digest.
        digest.update(path.read_text(encoding="utf-8").encode())
    return digest.digest()


def release_name(release: Release) -> str:
    """Its name in `RELEASES`.

    Raises:
        TokenError: it is one made by hand.
    """
    for name, known in RELEASES.items():
        if known == release:
            return name
    raise TokenError(
        f"a token names releases by name, and {release.name} is not one of {', '.join(RELEASES)}"
    )


def policy_name(policy: Any) -> str | None:
    """Its name in `LOCK_POLICIES`.

    Raises:
        TokenError: it has none.
    """
    if policy is None or isinstance(policy, str):
        return policy
    for name, known in LOCK_POLICIES.items():
        if known is policy:
            return name
    raise TokenError(
        f"a token names lock policies by name, and {policy.__name__} is not one of {', '.join(LOCK_POLICIES)}"
    )
