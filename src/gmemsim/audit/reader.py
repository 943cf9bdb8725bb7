"""Reading a log back as typed events, with the exact place of whatever is wrong with it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union

import msgspec
from msgspec import structs

from ..nearest import nearest
from .errors import LogError
from .header import END_PREFIX, Header, excerpt, given_twice, parse_end
from .logfile import blocks
from .vocabulary import name_of, vocabulary

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from .base import Event


class Record(NamedTuple):
    """One event of a log."""

    seq: int
    t: int
    actor: str
    event: Event


def read_log(path: str | os.PathLike[str], *, partial: bool = False) -> LogReader:
    """Open a log; iterate over the result for its events, as often as you like.

    Args:
        partial: accept a log that was never finished (the end line is missing, the last line or the
            compressed data break off): its readable events are all there is.

    Raises:
        LogError: the file cannot be opened, or does not begin as a log of this schema. Iterating raises it
            at the first damaged line, unknown event, missing, wrong or unexpected field, key that a line has
            twice, wrong `seq`, time before that of the line above, or where the file is cut off; the events
            before that come first.
    """
    return LogReader(path, partial=partial)


class LogReader:
    """The events of one log file; see `read_log`.

    Attributes:
        header: which run it is of.
        broken_off: the last pass over the events met the end of an unfinished log, and was told to expect it.
    """

    def __init__(self, path: str | os.PathLike[str], *, partial: bool = False) -> None:
        self.path = path
        self.partial = partial
        self.broken_off = False
        first = next(blocks(path), None)
        if first is None:
            raise LogError(path, "expected a header, found an empty file", 1)
        try:
            self.header = Header.parse(first.partition(b"\n")[0])
        except ValueError as error:
            raise LogError(path, str(error), 1) from error

    def __iter__(self) -> Iterator[Record]:
        scan = _Scan(self.path)
        try:
            for block in blocks(self.path):
                yield from scan.block(block)
            scan.finish()
        except LogError as error:
            if error.truncated and self.partial:
                self.broken_off = True
                return
            if error.line or not scan.offset:
                raise
            # The data below the lines are at fault: say how far the lines go.
            raise LogError(self.path, error.reason, scan.line, scan.offset, error.truncated) from error

    def entries(self) -> Iterator[tuple[int, str, Event]]:
        """`(t, actor, event)`, as a `Recorder` gives them."""
        for _, t, actor, event in self:
            yield t, actor, event


class _Scan:
    """One pass over a file, keeping count of lines, bytes and events."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.line = 1
        self.offset = 0
        self.seq = 0
        self.t = 0
        self.ended = False
        classes = tuple(vocabulary().values())
        self.decoder, self.classes = _lines_of(classes)
        #: With the name of the event, which is no field.
        self.keys = {shape: len(structs.fields(shape)) + 1 for shape in self.classes}

    def block(self, block: bytes) -> Iterator[Record]:
        """The records of a block of lines."""
        if self.line == 1:
            cut = block.find(b"\n") + 1
            self._passed(block[:cut])
            block = block[cut:]
        if not block:
            return
        try:
            lines = self.decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            lines = []
        # The end line, a damaged line and a blank line, which the decoder skips, are met line by line; so are blocks in
        # which some line may have a key twice.
        keys = self.keys
        if (
            self.ended
            or not lines
            or len(lines) != block.count(b"\n")
            or sum([keys[line.__class__] for line in lines]) != block.count(b'":')
        ):
            yield from self._one_by_one(block)
            return
        # At a microsecond an event, every call counts here.
        seq = self.seq
        t = self.t
        classes = self.classes
        astuple = structs.astuple
        new = tuple.__new__
        for line in lines:
            fields = astuple(line)
            now = fields[1]
            if fields[0] != seq or now < t:
                before = b"".join(block.splitlines(keepends=True)[: seq - self.seq])
                self.line += seq - self.seq
                self.offset += len(before)
                self._check_stamp(fields[0], now, seq, t)
            yield new(Record, (seq, now, fields[2], classes[line.__class__](*fields[3:])))
            seq += 1
            t = now
        self.seq = seq
        self.t = t
        self.line += len(lines)
        self.offset += len(block)

    def _one_by_one(self, block: bytes) -> Iterator[Record]:
        for text in (match[0] for match in re.finditer(rb"[^\n]*\n|[^\n]+$", block)):
            if not text.endswith(b"\n"):
                raise self._truncated(f"the line breaks off after {len(text)} bytes")
            record = self._record(text[:-1])
            self._passed(text)
            if record is not None:
                self.seq += 1
                yield record

    def _passed(self, text: bytes) -> None:
        self.line += 1
        self.offset += len(text)

    def _record(self, line: bytes) -> Record | None:
        """What `line` holds; None for the end line."""
        if self.ended:
            raise self._wrong("expected the end of the file after the end line, found " + excerpt(line))
        if line.startswith(END_PREFIX):
            events = parse_end(line)
            if events is None:
                raise self._wrong("damaged end line: " + excerpt(line))
            if events != self.seq:
                raise self._wrong(f"the end line states {events} events, found {self.seq}")
            self.ended = True
            return None
        try:
            found = self.decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._wrong(_explain(line, error, self.offset)) from error
        if key := given_twice(line):
            raise self._wrong(f"event {name_of(self.classes[found.__class__])!r}: the line has {key!r} twice")
        self._check_stamp(found.seq, found.t, self.seq, self.t)
        self.t = found.t
        fields = structs.astuple(found)
        return Record(found.seq, found.t, found.actor, self.classes[found.__class__](*fields[3:]))

    def _check_stamp(self, seq: int, t: int, expected: int, before: int) -> None:
        """Number and time of a line."""
        if seq != expected:
            raise self._wrong(f"expected seq {expected}, found seq {seq}")
        if t < before:
            raise self._wrong(f"the time runs backwards: t {t} after t {before}")

    def finish(self) -> None:
        """The file is at its end."""
        if not self.ended:
            raise self._truncated(f"expected the end line after {self.seq} events, found the end of the file")

    def _truncated(self, reason: str) -> LogError:
        return LogError(self.path, "truncated: " + reason, self.line, self.offset, truncated=True)

    def _wrong(self, reason: str) -> LogError:
        return LogError(self.path, reason, self.line, self.offset)


@lru_cache(maxsize=4)
def _lines_of(classes: tuple[type[Event], ...]) -> tuple[Any, dict[type, type[Event]]]:
    """A decoder for whole lines, and the class of the event that each kind of line holds.

    For each event there is a struct of its line, stamp and fields: decoding both at once costs half of
    decoding one after the other.
    """
    shapes: dict[type, type[Event]] = {}
    for cls in classes:
        own = (
            (
                field.name,
                Literal["r", "w"]
                if cls.family in ("locks", "schedule") and field.name == "mode"
                else field.type,
                # A field that logs did not always have says by its default what its absence means.
                *(() if field.default is msgspec.NODEFAULT else (field.default,)),
            )
            for field in structs.fields(cls)
        )
        shape = msgspec.defstruct(
            cls.__name__,
            [("seq", int), ("t", int), ("actor", str), *own],
            tag_field="event",
            tag=cls.__struct_config__.tag,
            forbid_unknown_fields=True,
            gc=False,
        )
        shapes[shape] = cls
    return msgspec.json.Decoder(Union[tuple(shapes)]), shapes  # noqa: UP007 - a union of a computed list


def line_decoder() -> Callable[[bytes], tuple[str, Event]]:
    """What makes actor and event of one line; it raises ValueError if that is no event, or has a key twice."""
    decoder, classes = _lines_of(tuple(vocabulary().values()))

    def decode(line: bytes) -> tuple[str, Event]:
        found = decoder.decode(line)
        if key := given_twice(line):
            raise ValueError(f"the line has {key!r} twice")
        return found.actor, classes[found.__class__](*structs.astuple(found)[3:])

    return decode


_EXPECTED = re.compile(r"(?P<what>Expected .*?)(?: - at `\$(?:\.(?P<field>[^`]*))?`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`.*")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`.*")
_NO_CHOICE = re.compile(r"Invalid enum value (?P<value>.*) - at `\$\.(?P<field>[^`]*)`")
_BYTE = re.compile(r"\(byte (\d+)\)")


def _explain(line: bytes, error: Exception, offset: int) -> str:
    """What is wrong with `line`, in the terms of a log."""
    try:
        found = msgspec.json.decode(line)
    except RecursionError:
        return "nested too deep: " + excerpt(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as damage:
        if not line.strip():
            return "expected an event, found " + excerpt(line)
        at = _BYTE.search(str(damage))
        byte = int(at[1]) if at else len(line) if "truncated" in str(damage) else -1
        place = f", at byte {offset + byte}" if byte >= 0 else ""
        return f"damaged line{place}: {excerpt(line)}"
    if not isinstance(found, dict):
        return "expected an object, found " + excerpt(line)
    name = found.get("event")
    if "event" not in found:
        return "expected an event, found a line without field 'event': " + excerpt(line)
    cls = vocabulary().get(name) if isinstance(name, str) else None
    if cls is None:
        return f"unknown event {excerpt(msgspec.json.encode(name))}{_near(name)}"
    text = str(error)
    if match := _MISSING.fullmatch(text):
        return f"event {name!r}: expected field {match['field']!r}, found none"
    if match := _UNKNOWN.fullmatch(text):
        fields = ", ".join(("seq", "t", "actor", "event", *cls.__struct_fields__))
        return f"event {name!r}: unexpected field {match['field']!r}; its fields are {fields}"
    if match := _NO_CHOICE.fullmatch(text):
        value = excerpt(msgspec.json.encode(found.get(match["field"])))
        return f'event {name!r}, field {match["field"]!r}: expected "r" or "w", found {value}'
    match = _EXPECTED.fullmatch(text)
    if match and match["field"] is not None:
        value = excerpt(msgspec.json.encode(found.get(match["field"])))
        expected = match["what"].partition(", got ")[0].replace("`", "").replace("Expected", "expected")
        return f"event {name!r}, field {match['field']!r}: {expected}, found {value}"
    return f"event {name!r}: {text}"


def _near(name: object) -> str:
    close = nearest(str(name), vocabulary(), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
