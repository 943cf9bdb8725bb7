"""For tests of a patch: everything that a test file needs, from one place. `docs/testing.md` shows it in use.

Names are loaded when they are asked for; the Hypothesis part needs the package hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..explore.replay import replay
    from ..explore.shrink import shrink
    from ..patches.baseline import Baseline
    from ..patches.hugepage import Hugepage
    from ..patches.inplace import Inplace
    from ..patches.inplace_v8 import InplaceV8
    from ..patches.mainline_7_3 import Mainline73
    from ..patches.registry import load_patch
    from ..patches.v1 import V1
    from ..patches.v2 import V2
    from ..patches.v3 import V3
    from ..scenarios.catalogue import load_named
    from ..scenarios.hypothesis_strategies import cases, schedules, workloads
    from ..scenarios.scenario import load, loads
    from .checking import Checked, ScheduleFailure, check, program, run_once
    from .machine import GmemMachine

__all__ = [
    "V1", "V2", "V3", "Baseline", "Checked", "GmemMachine", "Hugepage", "Inplace", "InplaceV8", "Mainline73",
    "ScheduleFailure", "cases", "check", "load",
    "load_named", "load_patch", "loads", "program", "replay", "run_once", "schedules", "shrink", "workloads",
]  # fmt: skip

_WHERE: Final = {
    "V1": "patches.v1",
    "V2": "patches.v2",
    "V3": "patches.v3",
    "Baseline": "patches.baseline",
    "Checked": "testing.checking",
    "GmemMachine": "testing.machine",
    "Hugepage": "patches.hugepage",
    "Inplace": "patches.inplace",
    "InplaceV8": "patches.inplace_v8",
    "Mainline73": "patches.mainline_7_3",
    "ScheduleFailure": "testing.checking",
    "cases": "scenarios.hypothesis_strategies",
    "check": "testing.checking",
    "load": "scenarios.scenario",
    "load_named": "scenarios.catalogue",
    "load_patch": "patches.registry",
    "loads": "scenarios.scenario",
    "program": "testing.checking",
    "replay": "explore.replay",
    "run_once": "testing.checking",
    "schedules": "scenarios.hypothesis_strategies",
    "shrink": "explore.shrink",
    "workloads": "scenarios.hypothesis_strategies",
}


def __getattr__(name: str) -> Any:
    """A public name, on first use; or the class of a version, whatever it is called."""
    if name in _WHERE:
        return getattr(import_module(f"..{_WHERE[name]}", __name__), name)
    if name[:1].isupper():
        from ..patches.registry import versions

        for cls in versions().values():
            if cls.__name__ == name:
                return cls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
