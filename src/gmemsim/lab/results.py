"""Results of a campaign as a file: a line that says what was run, then one line a scenario; more are added later.

A file is tied to kernel, version, seed and steering: whoever goes on with it goes on with the same. Each line has what
the kernel came to, so that another version of the model can be held against it without a kernel. A name that ends in
`.gz` is read and written compressed.
"""

from __future__ import annotations

import gzip
import os
import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from ..audit.bounded import key_twice
from ..whole_files import write_whole
from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .compare import Comparison

FORMAT: Final = "gmemsim-lab-1"
#: Outcomes of the model that a line shows beside one that it does not have.
_SHOWN: Final = 8


_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file's scenarios were run on, and how; two files with the same head can be joined.

    Attributes:
        kernel: its release.
        patch: version of the model.
        seed: of the drawn scenarios and of the delays.
        delay: the longest drawn delay, in us.
    """

    kernel: str
    patch: str
    seed: int
    rounds: int
    delay: int
    format: str = FORMAT


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A kernel's outcomes of one scenario, and what the model says of them (`compare.Comparison`).

    Attributes:
        digest: of the scenario's text.
        seconds: on the kernel, boots apart.
        model_has: some of the model's outcomes, where the kernel has one that the model has not.
    """

    scenario: str
    digest: str
    verdict: Literal["agree", "differ", "undecided", "refused"]
    rounds: _Count
    seconds: float
    kernel_outcomes: dict[str, _Count]
    not_of_the_model: dict[str, _Count] = {}
    model_outcomes: _Count = 0
    model_complete: bool = False
    model_states: _Count = 0
    model_has: list[str] = []
    seen: _Count = 0
    hung: bool = False
    died: str = ""
    note: str = ""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over rows; `seen` of `outcomes` counts scenarios that agree and whose set of the model is complete."""

    scenarios: int
    verdicts: dict[str, int]
    rounds: int
    distinct: int
    hung: int
    complete: int
    seen: int
    outcomes: int
    seconds: float


def digest_of(text: str) -> str:
    """Eight digits that stand for a scenario's text."""
    return blake2b(text.encode(), digest_size=4).hexdigest()


def row_of(name: str, text: str, seconds: float, comparison: Comparison) -> Row:
    """The line of a scenario that was compared."""
    c = comparison
    return Row(
        scenario=name,
        digest=digest_of(text),
        verdict=c.verdict,
        rounds=c.rounds,
        seconds=round(seconds, 2),
        kernel_outcomes=dict(sorted(c.outcomes.items(), key=lambda item: (-item[1], item[0]))),
        not_of_the_model=c.alien,
        model_outcomes=len(c.model.outcomes),
        model_complete=c.model.complete,
        model_states=c.model.states,
        model_has=sorted(c.model.outcomes)[:_SHOWN] if c.alien else [],
        seen=c.seen,
        hung=c.hung,
        died=c.died,
        note=c.note,
    )


def totals(rows: Iterable[Row]) -> Totals:
    """Sums."""
    rows = list(rows)
    whole = [row for row in rows if row.model_complete and row.verdict == "agree"]
    verdicts: dict[str, int] = {}
    for row in rows:
        verdicts[row.verdict] = verdicts.get(row.verdict, 0) + 1
    return Totals(
        scenarios=len(rows),
        verdicts=dict(sorted(verdicts.items())),
        rounds=sum(row.rounds for row in rows),
        distinct=sum(len(row.kernel_outcomes) for row in rows),
        hung=sum(row.hung for row in rows),
        complete=len(whole),
        seen=sum(row.seen for row in whole),
        outcomes=sum(row.model_outcomes for row in whole),
        seconds=sum(row.seconds for row in rows),
    )


def read_results(path: Path, head: Head | None = None, *, whole: bool = False) -> tuple[Head, dict[str, Row]]:
    """Head and rows of a file, by scenario: of several with the same name the last, and none of a line without its end.

    Args:
        whole: a last line without its end is an error, too: nobody goes on with the file.

    Raises:
        LabError: it is no such file, or `head` is another.
    """
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise LabError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    *lines, rest = text.split(b"\n")
    if rest and whole:
        raise LabError(
            f"{path}:{len(lines) + 1}: the last line breaks off; expected results of gmemsim lab compare"
        )
    rows: dict[str, Row] = {}
    number = 1
    try:
        found = msgspec.json.decode(lines[0] if lines else b"", type=Head)
        for line in lines[1:]:
            number += 1
            row = msgspec.json.decode(line, type=Row)
            _check_sum(row)
            if twice := key_twice(line):
                raise ValueError(f"{twice!r} twice in one object")
            rows[row.scenario] = row
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise LabError(f"{path}:{number}: expected results of gmemsim lab compare ({error})") from None
    if found.format != FORMAT:
        raise LabError(f"{path}:1: format {found.format}: expected {FORMAT}")
    if head is not None and found != head:
        other = [
            f"{name} {was!r}, not {now!r}"
            for name, was in msgspec.to_builtins(found).items()
            if was != (now := getattr(head, name))
        ]
        raise LabError(f"{path} has results of another campaign: {', '.join(other)}")
    return found, rows


def _check_sum(row: Row) -> None:
    """A round has one outcome at most; one that was cut short has none.

    Raises:
        ValueError: there are more.
    """
    found = sum(row.kernel_outcomes.values())
    if found > row.rounds:
        raise ValueError(f"{row.scenario}: outcomes of {found} rounds, and rounds is {row.rounds}")


def keep_row(path: Path, row: Row) -> None:
    """Add a line at the end of a file that `write_results` began; not for compressed ones.

    Raises:
        LabError: it cannot be written; what there is of the line goes with the next one.
    """
    try:
        with path.open("r+b") as file:
            data = file.read()
            # What a process that was killed left of its last line goes.
            file.truncate(data.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(msgspec.json.encode(row) + b"\n")
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from None


def write_results(path: Path, head: Head, rows: Iterable[Row]) -> None:
    """A whole file, in one go.

    Raises:
        LabError: it cannot be written.
    """
    every: list[Any] = [head, *rows]
    data = b"".join(msgspec.json.encode(each) + b"\n" for each in every)
    if path.suffix == ".gz":
        data = gzip.compress(data, 9, mtime=0)
    write_whole({path: data})
