"""The log while the run goes on, through structlog: for people, or as JSON Lines for programs.

Every event becomes a structlog event dict: the bound context (scenario, patch, arch, seed), then `seq`, `t`,
`actor`, `event` and the event's fields. It passes through the caller's processors, plain callables
`(logger, method_name, event_dict) -> event_dict` that may change it, add to it or raise
`structlog.DropEvent`, and ends in one of two renderers. Without processors the JSON output is byte for byte
what `write_log` writes.

This costs microseconds an event; a run that is only to be kept uses a `Recorder` instead.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

import msgspec
import structlog

from .header import Header, end_line
from .vocabulary import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping
    from types import TracebackType

    from structlog.typing import Processor

    from .base import Event
    from .recorder import Actor, Entry


class _EventLogger(structlog.BoundLoggerBase):
    """A bound logger with one method: there are no levels here."""

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        self._proxy_to_logger("msg", event, **fields)


class LiveLog:
    """Events written as they happen; `rec` is for the engine, `write` for entries that were recorded before.

    A context manager: the header goes out on entry, the end line on a clean exit.

    Args:
        header: bound to every event dict; written once, as first line.
        json: JSON Lines instead of text for people.
        file: where to; binary for JSON, text otherwise. Default: stdout.
        processors: run in order on every event dict, before the renderer. What a processor adds is written
            after the event's own fields; context that the header already states is not repeated.
        colors: for people only; default: if `file` is a terminal.
    """

    def __init__(
        self,
        header: Header | None = None,
        *,
        json: bool = False,
        file: BinaryIO | TextIO | None = None,
        processors: Iterable[Processor] = (),
        colors: bool | None = None,
    ) -> None:
        self.header = Header() if header is None else header
        self.events = 0
        self._json = json
        chain: list[Processor] = list(processors)
        logger: structlog.BytesLogger | structlog.WriteLogger
        if json:
            self._out: Any = sys.stdout.buffer if file is None else file
            logger = structlog.BytesLogger(cast("BinaryIO", self._out))
            chain.append(_JsonLine(self.header))
        else:
            self._out = sys.stdout if file is None else file
            logger = structlog.WriteLogger(cast("TextIO", self._out))
            chain.append(_Human(self.header, self._out.isatty() if colors is None else colors))
        wrapped = structlog.wrap_logger(logger, chain, _EventLogger, dict)
        self._logger = cast("_EventLogger", wrapped.bind(**self.header.context()))

    def rec(self, task: Actor, event: Event) -> None:
        """Write one event now."""
        self._emit(task.engine.now, task.name, event)

    def write(self, entries: Iterable[Entry]) -> None:
        """Write recorded entries."""
        for t, actor, event in entries:
            self._emit(t, actor, event)

    def _emit(self, t: int, actor: str, event: Event) -> None:
        own = msgspec.to_builtins(event, order="deterministic")
        name = own.pop("event")
        stamp = {"seq": self.events, "t": t, "actor": actor}
        self.events += 1
        self._logger.emit(name, stamp | own)

    def __enter__(self) -> LiveLog:
        if self._json:
            self._out.write(self.header.line())
        else:
            self._out.write(" ".join(f"{key}={value}" for key, value in self.header.context().items()) + "\n")
        self._out.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._out.write(end_line(self.events) if self._json else f"{self.events} events\n")
            self._out.flush()


def _own_fields() -> dict[str, frozenset[str]]:
    return {name: frozenset(cls.__struct_fields__) for name, cls in vocabulary().items()}


class _Stripped:
    """Takes the header's context out of an event dict again, unless the event has a field of that name."""

    def __init__(self, header: Header) -> None:
        self._context = header.context()
        self._fields: dict[str, frozenset[str]] = {}

    def strip(self, event_dict: MutableMapping[str, Any]) -> dict[str, Any]:
        name = event_dict.get("event")
        if name not in self._fields:
            self._fields = _own_fields()
        own = self._fields.get(str(name), frozenset())
        context = self._context
        return {
            key: value
            for key, value in event_dict.items()
            if key not in context or key in own or value != context[key]
        }


class _JsonLine(_Stripped):
    """Renderer: the canonical line, without its newline."""

    def __call__(self, logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> bytes:
        rest = self.strip(event_dict)
        # structlog puts the event's name last.
        line = {key: rest.pop(key) for key in ("seq", "t", "actor", "event") if key in rest}
        return msgspec.json.encode(line | rest)


class _Human(_Stripped):
    """Renderer: time, actor and event in columns, then the fields as `key=value`."""

    def __init__(self, header: Header, colors: bool) -> None:
        super().__init__(header)
        dev = structlog.dev
        self._dim: str = dev.DIM if colors else ""
        self._bold: str = dev.BRIGHT if colors else ""
        self._reset: str = dev.RESET_ALL if colors else ""

    def __call__(self, logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> str:
        rest = self.strip(event_dict)
        rest.pop("seq", None)
        dim, bold, reset = self._dim, self._bold, self._reset
        t = rest.pop("t", "-")
        time = f"{dim}{f'{t:,}' if isinstance(t, int) else _text(t):>14} ns{reset}"
        actor = f"{_text(rest.pop('actor', '-')):<10}"
        event = f"{bold}{_text(rest.pop('event', '-')):<22}{reset}"
        fields = " ".join(f"{dim}{key}={reset}{_text(value)}" for key, value in rest.items())
        return f"{time}  {actor} {event} {fields}".rstrip()


def _text(value: object) -> str:
    """Frame numbers and the like in hexadecimal; no character that would break the line or the terminal."""
    if type(value) is int:
        return f"{value:#x}" if value > 4095 else str(value)
    text = str(value)
    return text if text.isprintable() else repr(text)
