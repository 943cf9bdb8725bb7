"""What is needed to write rules, operations and events of your own; `docs/extend.md` shows each at work.

The command line reads a file of yours only where it is named: `--oracle mine.py:MyRule`, `--operation mine.py:MyCall`,
`--patch mine.py:MyPatch`. In Python, `oracles=[MyRule]` is an argument of `gmemsim.check`, `gmemsim.explore`,
`gmemsim.run`, `gmemsim.program` and of the fixtures.
"""

from __future__ import annotations

from .actors.errno import errno_name
from .audit.base import Event
from .audit.vocabulary import vocabulary
from .oracles.exact import Exact
from .oracles.own import Oracle
from .oracles.rules import Rule
from .oracles.watch import after, at_rest, before, track
from .patches.user_file import PatchError
from .scenarios.handlers.registry import from_errno, of_pages
from .scenarios.op_base import FileRange, GuestAccess, GuestRange, MapRange, Op
from .scenarios.own import operation
from .scenarios.results import Outcome
from .scenarios.units import PAGE

__all__ = [
    "PAGE", "Event", "Exact", "FileRange", "GuestAccess", "GuestRange", "MapRange", "Op", "Oracle", "Outcome",
    "PatchError", "Rule", "after", "at_rest", "before", "errno_name", "from_errno", "of_pages", "operation", "track",
    "vocabulary",
]  # fmt: skip
