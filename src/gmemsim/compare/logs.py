"""Reading a log straight into the numbers of its steps: a line that was seen before is not decoded again.

Logs repeat themselves: of a million lines some ten thousand differ in more than number, time and message number. Those
numbers are cut out of a block of lines by two patterns, and what is left of each line is looked up. Whatever is not
exactly as the writer of logs writes it goes the slow way, line by line, which also says what is wrong and where.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import compress, count
from typing import TYPE_CHECKING, Final

from ..audit.errors import LogError
from ..audit.events import Receive, Send
from ..audit.header import END_PREFIX, parse_end
from ..audit.logfile import blocks
from ..audit.reader import line_decoder, read_log
from .runs import Run

if TYPE_CHECKING:
    import os

    from ..audit.header import Header
    from .runs import Steps

_LINE: Final = re.compile(rb'\{"seq":(0|[1-9]\d*),"t":(0|[1-9]\d*),(.*)\}\n')
_ID: Final = re.compile(rb'"id":(0|[1-9]\d*),')
#: Stands where a number was, so that the line is decoded as it is: its event has to have the field, and no other may.
_NO_ID: Final = b'"id":0,'
#: In one line: none of them may be lost.
_TWO_IDS: Final = re.compile(rb'"id":\d+,.*"id":\d+,')


class Log:
    """A log that was read.

    Attributes:
        header: which run it is of.
        run: its steps.
        broken_off: it was never finished, and this was expected.
    """

    def __init__(self, header: Header, run: Run, broken_off: bool) -> None:
        self.header = header
        self.run = run
        self.broken_off = broken_off


def same_lines(left: str | os.PathLike[str], right: str | os.PathLike[str]) -> bool:
    """Whether two logs are equal to the last byte after their headers."""
    try:
        return _digest(left) == _digest(right)
    except LogError:
        # Reading them says what is wrong.
        return False


def _digest(path: str | os.PathLike[str]) -> bytes:
    found = blake2b()
    first = True
    for block in blocks(path):
        found.update(block.partition(b"\n")[2] if first else block)
        first = False
    return found.digest()


class _Unusual(Exception):
    """Something that is to be looked at line by line."""


def read_run(steps: Steps, path: str | os.PathLike[str], *, partial: bool = False) -> Log:
    """Read a log; arguments and errors as `audit.reader.read_log`, all of them raised here."""
    reader = read_log(path, partial=partial)
    try:
        return Log(reader.header, _Fast(steps, path).run(), False)
    except _Unusual:
        run = steps.run((record.actor, record.event) for record in reader)
        return Log(reader.header, run, reader.broken_off)


class _Fast:
    """One pass over a file that is as the writer writes it.

    Raises:
        _Unusual: it is not.
    """

    def __init__(self, steps: Steps, path: str | os.PathLike[str]) -> None:
        self._steps = steps
        self._path = path
        self._run = Run()
        self._numbers: dict[bytes, int] = {}
        self._is_message: dict[int, bool] = {}
        self._decode = line_decoder()
        self._time = 0

    def run(self) -> Run:
        run = self._run
        first = True
        ended = False
        try:
            for block in blocks(self._path):
                text = block.partition(b"\n")[2] if first else block
                first = False
                if not text.endswith(b"\n"):
                    if text or ended:
                        raise _Unusual
                    continue
                last = text.rfind(b"\n", 0, -1) + 1
                if text.startswith(END_PREFIX, last):
                    ended = True
                    if parse_end(text[last:-1]) != len(run.steps) + text.count(b"\n") - 1:
                        raise _Unusual
                    text = text[:last]
                elif ended:
                    raise _Unusual
                self._block(text)
        except (LogError, ValueError):
            # The slow way says what it is.
            raise _Unusual from None
        if not ended:
            raise _Unusual
        return run

    def _block(self, text: bytes) -> None:
        # No string holds the pattern, because JSON escapes quotation marks.
        ids = _ID.findall(text)
        if ids and _TWO_IDS.search(text):
            raise _Unusual
        lines = _LINE.findall(_ID.sub(_NO_ID, text) if ids else text)
        if len(lines) != text.count(b"\n"):
            raise _Unusual
        if not lines:
            return
        steps = self._run.steps
        at = len(steps)
        seqs, times, rests = zip(*lines, strict=True)
        if list(map(int, seqs)) != list(range(at, at + len(lines))):
            raise _Unusual
        now = list(map(int, times))
        if now[0] < self._time or now != sorted(now):
            raise _Unusual
        self._time = now[-1]
        try:
            numbers = list(map(self._numbers.__getitem__, rests))
        except KeyError:
            numbers = list(map(self._number, rests))
        positions = list(compress(count(at), map(self._is_message.__getitem__, numbers)))
        if len(positions) != len(ids):
            raise _Unusual
        self._run.messages.update(zip(positions, map(int, ids), strict=True))
        steps += numbers

    def _number(self, rest: bytes) -> int:
        """The number of a line, which may be new."""
        number = self._numbers.get(rest)
        if number is None:
            actor, event = self._decode(b'{"seq":0,"t":0,' + rest + b"}")
            number = self._steps.number(actor, event)
            self._numbers[rest] = number
            self._is_message[number] = isinstance(event, (Send, Receive))
        return number
