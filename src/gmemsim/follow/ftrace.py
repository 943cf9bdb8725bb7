"""Kernel ftrace text (`TASK-PID [CPU] flags seconds: event: fields`), plain or gzip, one event at a time.

The same line comes in several shapes: without flags, with a column for the tgid, with `group:` before the event, from
`trace-cmd report` and from `perf script`. What is no list of events at all is told by name. A trace comes from anybody:
lines, their number and what they unpack to are bounded, and a line is read in time linear in its length.
"""

from __future__ import annotations

import gzip
import re
import zlib
from sys import intern
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from ..audit.bounded import clean
from ..bad_input import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_CPU: Final = re.compile(r"\s\[(\d{1,6})\]\s")
_PID: Final = re.compile(r"\d{1,10}(?:/\d{1,10})?")
_TIME: Final = re.compile(r"(\d{1,19})(?:\.(\d{1,9}))?:")
_EVENT: Final = re.compile(r"(?:[A-Za-z_][\w-]{0,99}:)?([A-Za-z_]\w{0,99}): ?")
_FLAGS: Final = re.compile(r"[.\w#=!-]{4,6}")
#: As tracefs, `trace-cmd report` and `perf script --show-lost-events` say it; and the head of tracefs' text, where the
#: oldest events were overwritten, of each CPU up to another time.
_LOST: Final = (
    re.compile(r"CPU:\s?\d{1,6} \[LOST (\d{1,18})? ?EVENTS\]"),
    re.compile(r"CPU:\s?\d{1,6} \[(\d{1,18})? ?EVENTS DROPPED\]"),
    re.compile(r".{0,200}?\[(\d{1,18}) events? (?:lost|dropped|missed)\]", re.IGNORECASE),
    re.compile(r".{0,200}?PERF_RECORD_LOST(?:_SAMPLES)?\s{1,9}lost (\d{1,18})"),
)
_WRITTEN: Final = re.compile(r"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})\s")
#: A line of a call chain of `perf script`: an address and where that is.
_CHAIN: Final = re.compile(r"\s{1,40}[0-9a-f]{4,16} \S.{0,400}\(.{1,200}\)$")
_PASSED: Final = re.compile(r"(?:cpus=\d+|version = \d+|CPU \d+ is empty|.*\[\d+ (?:more|events?) .*\])$")

#: Bytes of a line, and of all that a gzip file unpacks to for one byte of it; real traces have tens of both.
_LONGEST_LINE: Final = 1 << 14
_RATIO: Final = 200
_LEAST: Final = 16 << 20
#: Events of a file, and lines in a row that are none.
_EVENTS: Final = 4_000_000
_QUIET: Final = 10_000

_LARGER: Final = "record with a larger buffer (buffer_size_kb)"

#: Bytes in which a file says what it is.
_HEAD: Final = 1 << 13

#: What else people have in files about locks and faults: how it begins or what is in its first lines, and what it is.
_OTHERS: Final = (
    ("possible circular locking dependency", "a lockdep report"),
    ("possible recursive locking", "a lockdep report"),
    ("lock_stat version", "the text of /proc/lock_stat"),
    ("total wait     max wait", "a table of `perf lock contention`"),
    ("avg wait ", "a table of `perf lock`"),
    ("tracer: function_graph", "output of the function_graph tracer; events are needed"),
    ("FUNCTION CALLS", "output of the function_graph tracer; events are needed"),
    ("Attaching ", "output of bpftrace"),
    ("blocked for more than", "a kernel log"),
    ("Call Trace:", "a kernel log"),
    ('{"log":"gmemsim"', "an audit log of gmemsim: `gmemsim diff` compares those"),
)
_BINARY: Final = (
    (b"\x17\x08Dtracing", "a recording of trace-cmd (trace.dat); `trace-cmd report` writes its text"),
    (b"PERFILE2", "a recording of perf (perf.data); `perf script` writes its text"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; expected plain text or gzip"),
)


class TraceError(BadInput):
    """The file is no readable trace; the message names file and line."""


class KernelEvent(NamedTuple):
    """One event of the trace.

    Attributes:
        line: line number in the file, from 1.
        time_us: timestamp in microseconds; of a clock that counts something else (`counter`, `x86-tsc`), its count.
        thread: `comm-pid`.
        name: event or probe name.
        args: the rest of the line.
    """

    line: int
    time_us: int
    thread: str
    name: str
    args: str


def parse_line(text: str, line: int = 0) -> KernelEvent | None:
    """One line, or None for comments and blank lines.

    Raises:
        ValueError: the line is no event.
    """
    found: KernelEvent | None = None
    for cpu in _CPU.finditer(text):
        # A task's name may look like the rest of a line, and anybody may have one.
        thread = _thread(text[: cpu.start()])
        rest = text[cpu.end() :].lstrip() if thread else ""
        flags = _FLAGS.match(rest)
        if flags and rest[flags.end() : flags.end() + 1].isspace():
            rest = rest[flags.end() :].lstrip()
        time = _TIME.match(rest)
        if thread is None or time is None:
            continue
        rest = rest[time.end() :].lstrip()
        event = _EVENT.match(rest)
        if event is None:
            continue
        whole, fraction = time.groups()
        moment = int(whole) if fraction is None else int(whole) * 1_000_000 + int(fraction.ljust(6, "0")[:6])
        # (perf probe names a return probe by itself.)
        # Names are few and events many: each is kept once.
        name = intern(event[1].removesuffix("__return"))
        if found is not None:
            raise ValueError(f"the line can be an event of {found.thread} and of {thread}")
        found = KernelEvent(line, moment, thread, name, rest[event.end() :].rstrip())
    if found is not None:
        return found
    short = text.strip()
    if written := _WRITTEN.match(text):
        missing = int(written[2]) - int(written[1])
        if missing > 0:
            raise ValueError(f"{missing:,} events were overwritten before the first: {_LARGER}")
    if not short or short.startswith("#"):
        return None
    for pattern in _LOST:
        if lost := pattern.match(short[:300]):
            raise ValueError(f"{lost[1] or 'some'} events were lost here: {_LARGER}")
    if _PASSED.match(short[:100]) or _CHAIN.match(text.rstrip()[:700]):
        return None
    raise ValueError("expected 'TASK-PID [CPU] flags seconds: event: …'")


def _thread(text: str) -> str | None:
    """`comm-pid` of `comm-pid`, `comm-pid (tgid)`, and of perf's `comm pid` and `comm pid/tid`."""
    text = text.strip()
    if text.endswith(")"):
        text = text[: text.rfind("(")].rstrip()
    for separator in "- ":
        comm, found, pid = text.rpartition(separator)
        if found and comm and _PID.fullmatch(pid):
            return intern(f"{comm.strip()}-{pid.rpartition('/')[2]}")
    return None


def read_trace(path: Path) -> Iterator[KernelEvent]:
    """Every event of the file, in order.

    Raises:
        TraceError: the file cannot be read, a line is damaged, it is something else, or it holds no event at all.
    """
    line = events = quiet = 0
    stated: int | None = None
    try:
        with _opened(path) as file:
            for line, text in enumerate(_lines(path, file), 1):
                if head := _WRITTEN.match(text):
                    if stated is not None:
                        raise TraceError(
                            f"{path}:{line}: a second head of a trace: expected one recording a file"
                        )
                    stated = int(head[1])
                try:
                    event = parse_line(text, line)
                except ValueError as error:
                    if not events and (other := _other(path)):
                        raise TraceError(f"{path}: {other}, not a list of ftrace events") from None
                    raise TraceError(f"{path}:{line}: {error}, got {clean(text, 60)!r}") from None
                if event is not None and not text.endswith("\n"):
                    # Half of a number is a number, so that nothing else would tell.
                    raise TraceError(f"{path}:{line}: the last line has no end: the text was cut off")
                quiet = quiet + 1 if event is None else 0
                if event is not None:
                    events += 1
                    yield event
                if events > _EVENTS or quiet > _QUIET:
                    what = f"{_EVENTS:,} events" if quiet <= _QUIET else f"{_QUIET:,} lines without an event"
                    raise TraceError(f"{path}:{line}: more than {what}")
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: after line {line}: {error}") from None
    if stated is not None and events < stated:
        # What is not there was somebody's step: neither answer would be true, as where the kernel lost it.
        raise TraceError(
            f"{path}: its head says {stated:,} events, and {events:,} are there: it was cut off or filtered"
        )
    if not events:
        other = _other(path)
        what = f"{other}, not a list of ftrace events" if other else "no event in it; expected ftrace text"
        raise TraceError(f"{path}: {what}")


def _other(path: Path) -> str | None:
    """What a file is that holds no events, by its beginning."""
    with _opened(path) as file:
        head = file.read(_HEAD).decode(errors="replace")
    return next((what for sign, what in _OTHERS if sign in head), None)


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        magic = file.read(16)
    for sign, what in _BINARY:
        if magic.startswith(sign):
            raise TraceError(f"{path}: {what}")
    if magic.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    most = _LEAST + _RATIO * path.stat().st_size
    read = number = 0
    while text := file.readline(_LONGEST_LINE + 1):
        number += 1
        read += len(text)
        if len(text) > _LONGEST_LINE:
            raise TraceError(
                f"{path}:{number}: a line of more than {_LONGEST_LINE >> 10} KiB; expected ftrace text"
            )
        if read > most:
            raise TraceError(f"{path}:{number}: unpacks to more than {_RATIO} times its size")
        if b"\0" in text:
            raise TraceError(f"{path}:{number}: binary data; expected ftrace text")
        yield text.decode(errors="replace")
