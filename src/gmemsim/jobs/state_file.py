"""Finished cells of a campaign on disk: a line that says which campaign, then one line a cell, written at once.

A campaign that is started again with the same file goes on with what is missing.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from ..audit.bounded import clean
from ..bad_input import BadInput

_K = TypeVar("_K")

#: Bytes of a line: a cell of `stress` has a token for each kind of failure.
_LONGEST_LINE: Final = 16 << 20


class StateError(BadInput):
    """A state file that cannot be used; the message is one line."""


class StateFile(Generic[_K]):
    """An open state file, locked: two campaigns that write to one file would lose each other's cells.

    Attributes:
        results: documents of what is there, by cell.

    Args:
        kind: the command whose file it is.
        header: what all its cells have in common; another file is refused.
        line: msgspec type of a cell's line; `key` is its cell.

    Raises:
        StateError: the file is of another campaign, in use, or no state file at all.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        header: Mapping[str, Any],
        line: Any,
        key: Callable[[Any], _K],
    ) -> None:
        self.path = path
        self.results: dict[_K, dict[str, Any]] = {}
        self._kind = kind
        self._header = {"gmemsim": kind, **header}
        self._line = line
        self._key = key
        try:
            if path.exists() and not path.is_file():
                raise StateError(f"{path}: not a regular file")
            self._file = path.open("r+b" if path.exists() else "x+b")
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            good = self._read()
            # What a stop in the middle of a line left behind goes; a whole file stays as it is.
            self._file.truncate(good)
            self._file.seek(good)
        except BlockingIOError:
            self._file.close()
            raise StateError(f"{path}: another campaign is writing to it") from None
        except OSError as error:
            self._file.close()
            raise StateError(f"{path}: {error.strerror}") from None
        except StateError:
            self._file.close()
            raise
        if not good:
            self._write(self._header)

    def _read(self) -> int:
        """Take what is there; the number of bytes up to the end of the last whole line."""
        good = number = 0
        while line := self._file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise self._wrong(number, f"a line of more than {_LONGEST_LINE >> 20} MiB")
            if not line.endswith(b"\n"):
                if number == 1:
                    raise self._wrong(1, f"expected a file of `gmemsim {self._kind}`")
                break
            if number == 1:
                self._check_header(line)
            else:
                try:
                    found = msgspec.json.decode(line, type=self._line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise self._wrong(number, f"expected a finished cell: {clean(str(error), 120)}") from None
                self.results[self._key(found)] = msgspec.to_builtins(found)
            good += len(line)
        return good

    def _check_header(self, line: bytes) -> None:
        try:
            found = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._wrong(1, f"not JSON; expected a file of `gmemsim {self._kind}`") from None
        if not isinstance(found, dict) or found.get("gmemsim") != self._kind:
            raise self._wrong(1, f"expected a file of `gmemsim {self._kind}`")
        # Lists that files did not always have are empty there.
        has = {
            key: found.get(key, [] if isinstance(value, list) else None)
            for key, value in self._header.items()
        }
        other = next((key for key, value in self._header.items() if has[key] != value), None)
        if other is not None:
            raise StateError(
                f"{self.path}: was made with {other} {clean(repr(found.get(other)), 60)}, not {self._header[other]!r}; "
                "give the same options, or another file"
            )

    def _wrong(self, number: int, text: str) -> StateError:
        return StateError(f"{self.path}:{number}: {text}")

    def _write(self, document: Any) -> None:
        self._file.write(msgspec.json.encode(document) + b"\n")
        self._file.flush()

    def add(self, result: dict[str, Any]) -> None:
        """A cell is finished."""
        self.results[self._key(msgspec.convert(result, self._line))] = result
        self._write(result)

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()

    def __enter__(self) -> StateFile[_K]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
