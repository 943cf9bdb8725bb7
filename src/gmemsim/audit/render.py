"""The canonical log line, and whole logs of them.

A line is `{"seq":…,"t":…,"actor":…,"event":…` and then the event's fields in the order in which its class
declares them. Times are virtual nanoseconds. Nothing in it depends on wall clock, addresses or hash order, so
that the same run writes the same bytes.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any

import msgspec

from .header import Header, end_line
from .logfile import LogFile

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from .recorder import Entry

_BATCH = 4096

# "deterministic" sorts sets and dicts; the fields of a struct stay in declared order.


def _foreign(value: Any) -> str:
    """What a broken patch put into an event: a coroutine that it forgot to await, for instance."""
    return f"<{type(value).__name__}>"


_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_foreign)


class _Stamp(msgspec.Struct, gc=False):
    """What stands in a line before the event's own part."""

    seq: int
    t: int
    actor: str


def render_lines(entries: Iterable[Entry], seq: int = 0) -> Iterator[bytes]:
    """The canonical lines of `entries`, each with its newline, a few thousand in one bytes object.

    Args:
        seq: number of the first entry.
    """
    rest = iter(entries)
    while batch := list(islice(rest, _BATCH)):
        yield _render(batch, seq)
        seq += len(batch)


def _render(batch: list[Entry], seq: int) -> bytes:
    # Stamps and events in turn go through one call of the encoder, a line each, and a replacement makes one
    # line of two. No string can hold the pattern, because JSON escapes newlines. Half the cost of formatting
    # each line.
    times, actors, events = zip(*batch, strict=True)
    pairs: list[Any] = [None] * (2 * len(batch))
    pairs[0::2] = map(_Stamp, count(seq), times, actors)
    pairs[1::2] = events
    return _encoder.encode_lines(pairs).replace(b'}\n{"event":', b',"event":')


class LogWriter:
    """A log that is written bit by bit; a context manager.

    The file appears under its name when the block ends without an exception; otherwise nothing is left of it.
    With `in_place` it grows under its name, readable up to the last `write`, and what was written before an
    exception stays; it then lacks the end line, which `read_log` reports unless told to expect it.

    `write` fits as the sink of a streaming `Recorder`:

        with LogWriter(path, header, in_place=True) as log, Recorder(log.write, every=1000) as recorder:
            Engine(rec=recorder.rec)

    Raises:
        LogError: on entry if the name ends in neither `.jsonl` nor `.jsonl.zst`; anywhere if the system
            refuses.
    """

    def __init__(
        self, path: str | os.PathLike[str], header: Header | None = None, *, in_place: bool = False
    ) -> None:
        self.path = path
        self.header = Header() if header is None else header
        self.events = 0
        self._in_place = in_place
        self._file: LogFile | None = None

    def __enter__(self) -> LogWriter:
        header = self.header.line()
        self._file = LogFile(self.path, in_place=self._in_place)
        try:
            self._file.write(header)
        except BaseException:
            self._file.abort()
            raise
        return self

    def write(self, entries: Iterable[Entry]) -> None:
        """Append the lines of `entries`."""
        file = self._file
        if file is None:
            raise RuntimeError("the log is not open: use it in a with statement")
        for lines in render_lines(entries, self.events):
            file.write(lines)
            self.events += lines.count(b"\n")
        if self._in_place:
            file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        if kind is not None:
            file.abort()
            return
        try:
            file.write(end_line(self.events))
        except BaseException:
            file.abort()
            raise
        file.commit()


def write_log(path: str | os.PathLike[str], entries: Iterable[Entry], header: Header | None = None) -> int:
    """Write a whole log, compressed if `path` ends in `.jsonl.zst`; the number of events.

    `entries` is a `Recorder`, or anything that yields `(t, actor, event)`. If anything fails or the user
    interrupts, `path` is what it was before.

    Raises:
        LogError: as `LogWriter`.
    """
    with LogWriter(path, header) as log:
        log.write(entries)
        return log.events
