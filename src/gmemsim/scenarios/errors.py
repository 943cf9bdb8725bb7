"""What a user gets to see when a scenario is wrong: one line that names file, line and field."""

from __future__ import annotations

from ..audit.bounded import clean
from ..bad_input import BadInput
from ..engine.errors import EngineError


class ScenarioError(BadInput):
    """A scenario that cannot be used. `str()` of it is one line: `FILE:LINE: FIELD: what was expected`.

    Attributes:
        source: path of the file, or the name it was given.
        line: 1-based; 0 when no line is to blame.
        field: dotted path of the key (`task[1].ops[0].count`), empty when none is to blame.
    """

    def __init__(self, source: str, line: int, field: str, message: str) -> None:
        self.source = source
        self.line = line
        self.field = field
        self.reason = clean(message)
        where = f"{source}:{line}" if line else source
        super().__init__(": ".join(part for part in (where, clean(field, 100), self.reason) if part))


class Livelock(EngineError):
    """A timed run goes round: for long no call ended, and no page was touched, added or removed.

    Attributes:
        ns: virtual time of that.
    """

    def __init__(self, tasks: list[str], ns: int) -> None:
        who = ", ".join(tasks[:8]) + (", …" if len(tasks) > 8 else "")
        super().__init__(
            f"{who} went round for {ns / 1e6:g} ms of virtual time; no call ended, and no page was touched, "
            "added or removed"
        )
        self.ns = ns


class TimeLimit(EngineError):
    """A timed run went on for longer than allowed: a task gets nowhere, or the limit is too low."""

    def __init__(self, ns: int) -> None:
        super().__init__(f"no end after {ns / 1e6:g} ms of virtual time; raise the limit if it is too low")
        self.ns = ns
