"""gmemsim: an executable model of Linux KVM guest_memfd under concurrency.

What most users need, by name; each is loaded when it is asked for (`docs/api.md` shows them in use):

========== ==========================================================================
load       a scenario: a name of the library, or a .toml file
load_patch a patch version by name, or a class in a file of your own
versions   every patch version, by name
program    a scenario on a patch version, as `explore` and `check` take it
run        one timed run: results, locks, violations, log
explore    search the schedules; says what was found and what was covered
check      the same in a test: raises at the first failure, with a replay token
replay     a token again, choice by choice
diff       two patch versions on one workload, or two logs
follow     is the trace of a real kernel a run of the model?
conform    run conformance vectors
findings   what is known to go wrong, and in which versions
========== ==========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        check,
        conform,
        diff,
        explore,
        findings,
        follow,
        load,
        load_patch,
        program,
        replay,
        run,
        versions,
    )  # fmt: skip

__all__ = [
    "__version__", "check", "conform", "diff", "explore", "findings", "follow", "load", "load_patch", "program",
    "replay", "run", "versions",
]  # fmt: skip

__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    """A public name, on first use. The packages `explore` and `follow` can be called (`callable_room`)."""
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in {"explore", "follow"}:
        return import_module(f".{name}", __name__)
    return getattr(import_module(".api", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
