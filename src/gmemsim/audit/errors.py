"""The one exception of the audit log: a file that cannot be written or read, and where."""

from __future__ import annotations

from ..bad_input import BadInput


class LogError(BadInput):
    """A log cannot be written or read. The message is one line for the user.

    Attributes:
        path: the file.
        line: number of the damaged line from 1, or 0 if no line is at fault.
        offset: where that line starts, in bytes of the (decompressed) text.
        reason: what was expected and what was found, without the place.
        truncated: nothing is wrong with what is there, but the rest is missing.
    """

    def __init__(
        self, path: object, reason: str, line: int = 0, offset: int = 0, truncated: bool = False
    ) -> None:
        reason = " ".join(reason.split())
        place = f"{path}:{line}: byte {offset}" if line else f"{path}"
        super().__init__(f"{place}: {reason}")
        self.path = str(path)
        self.line = line
        self.offset = offset
        self.reason = reason
        self.truncated = truncated

    def __reduce__(self) -> tuple[type[LogError], tuple[str, str, int, int, bool]]:
        """Errors cross process borders in campaigns."""
        return LogError, (self.path, self.reason, self.line, self.offset, self.truncated)
