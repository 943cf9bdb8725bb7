"""A stress campaign: many scenarios, versions, VM types and seeds, each cell searched a little, resumable.

A cell is one scenario on one version and VM type with one seed. What a finished cell came to is one line of the state
file, written at once; a campaign that is started again with the same file goes on with what is missing. A cell's
result follows from its description alone, so it does not matter which process or machine ran it, or in what order.
"""

from __future__ import annotations

import fcntl
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from ..audit.bounded import clean
from ..patches.entered import watch_overrides
from ..scenarios.catalogue import find
from .classes import ClassCounter
from .judges.livelock import judge
from .past_choices import broken_choices, merged
from .program import ScenarioProgram, classes_of, leaving_out
from .search import Limits, search
from .strategies import make_strategy
from .token import encode
from .workers import WorkerKilled, Workers, tick

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .search import SearchResult

__all__ = ["Cell", "CellInterrupted", "Plan", "StateError", "StateFile", "run_cell", "run_cells"]

_SCHEMA: Final = 3
#: Bytes of a line: a cell has a token for each kind of failure.
_LONGEST_LINE: Final = 16 << 20


@attrs.frozen
class Cell:
    """What one job searches."""

    scenario: str
    patch: str
    arch: str
    seed: int


@attrs.frozen(kw_only=True)
class Plan:
    """How every cell is searched.

    Attributes:
        schedules: runs in a cell.
        steps: limit within one run.
        small: start from the scenarios' [small] values.
        without: rules that nobody looks after.
    """

    strategy: str = "portfolio"
    schedules: int = 200
    steps: int = 20_000
    small: bool = True
    without: tuple[str, ...] = ()


class CellInterrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a cell.

    Attributes:
        result: what there was of it. It is no finished cell.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


class StateError(Exception):
    """A state file that cannot be used; the message is one line."""


def run_cell(cell: Cell, plan: Plan) -> dict[str, Any]:
    """Search one cell; the result as it stands in the state file. Every signature is reported once, with a token."""
    program = ScenarioProgram(
        scenario=find(cell.scenario),
        patch=cell.patch,
        arch=cell.arch,
        seed=cell.seed,
        small=plan.small,
        without=frozenset(plan.without),
    )
    counter = ClassCounter()
    past: frozenset[str] = frozenset()
    with watch_overrides(*classes_of(program)) as entered:
        result = _search(program, cell, plan, counter)
        schedules, steps = result.schedules, result.steps
        while (
            choices := broken_choices(result.found, keep_going=True)
        ) > past and result.stopped != "interrupted":
            past = choices
            more = _search(leaving_out(program, past), cell, plan, counter)
            schedules, steps = schedules + more.schedules, steps + more.steps
            result = merged(result, more, past)
    if not result.found:
        entered.refuse_state()
    document = {
        **attrs.asdict(cell),
        "schedules": schedules,
        "steps": steps,
        "seconds": round(result.seconds, 3),
        "classes": counter.distinct,
        "violations": [
            {
                "rule": found.failure.rule,
                "kind": found.failure.kind,
                "summary": found.failure.summary,
                "known": found.sort[2],
                "replay": encode(leaving_out(program, found.without), found.tape, max_steps=plan.steps),
            }
            for found in result.found
        ],
        "never_ran": list(entered.never),
        "errnos": sorted(entered.errnos),
        "past": list(result.past),
    }
    if result.stopped == "interrupted":
        raise CellInterrupted(document)
    return document


def _search(program: ScenarioProgram, cell: Cell, plan: Plan, counter: ClassCounter) -> SearchResult:
    return search(
        program,
        make_strategy(plan.strategy, cell.seed),
        Limits(schedules=plan.schedules, steps=plan.steps),
        observers=[counter],
        keep_going=True,
        judge=judge,
        progress=tick,
    )


def run_cells(
    cells: Iterable[Cell], plan: Plan, executor: Executor | None, *, width: int = 1
) -> Iterator[dict[str, Any]]:
    """Results as they come: in this process without an executor, else with up to `2 * width` jobs in flight.

    Raises:
        WorkerKilled: a process of the executor is gone.
    """
    if executor is None:
        for cell in cells:
            yield run_cell(cell, plan)
        return
    waiting = iter(cells)
    flying: set[Future[dict[str, Any]]] = set()
    while True:
        while len(flying) < 2 * width:
            following = next(waiting, None)
            if following is None:
                break
            try:
                flying.add(executor.submit(run_cell, following, plan))
            except BrokenExecutor:
                raise WorkerKilled from None
        if not flying:
            return
        done, flying = wait(flying, return_when=FIRST_COMPLETED)
        for future in done:
            yield Workers.result(future)


class _Violation(msgspec.Struct):
    rule: str
    kind: str
    summary: str
    known: str
    replay: str


class _Result(msgspec.Struct):
    """A line of a state file; `run_cell` writes it."""

    scenario: str
    patch: str
    arch: str
    seed: int
    schedules: int
    steps: int
    seconds: float
    classes: int
    violations: list[_Violation]
    never_ran: list[str] = []
    errnos: list[str] = []
    past: list[str] = []


class StateFile:
    """Finished cells on disk: a line with the plan, then one line a cell.

    Attributes:
        results: what is there, by cell.

    Raises:
        StateError: the file is of another plan, or no state file at all.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.results: dict[Cell, dict[str, Any]] = {}
        self._header = {
            "gmemsim": "stress",
            "schema": _SCHEMA,
            **attrs.asdict(plan),
            "without": list(plan.without),
        }
        try:
            if path.exists() and not path.is_file():
                raise StateError(f"{path}: not a regular file")
            self._file = path.open("r+b" if path.exists() else "x+b")
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from None
        try:
            # Two campaigns that write to one file would lose each other's cells.
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
                    raise self._wrong(1, "expected a file of `gmemsim stress`")
                break
            if number == 1:
                self._check_header(line)
            else:
                try:
                    found = msgspec.json.decode(line, type=_Result)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise self._wrong(number, f"expected a finished cell: {clean(str(error), 120)}") from None
                cell = Cell(found.scenario, found.patch, found.arch, found.seed)
                self.results[cell] = msgspec.to_builtins(found)
            good += len(line)
        return good

    def _check_header(self, line: bytes) -> None:
        try:
            found = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._wrong(1, "not JSON; expected a file of `gmemsim stress`") from None
        if not isinstance(found, dict) or found.get("gmemsim") != "stress":
            raise self._wrong(1, "expected a file of `gmemsim stress`")
        other = next((key for key, value in self._header.items() if found.get(key) != value), None)
        if other is not None:
            raise StateError(
                f"{self.path}: was made with {other} {clean(repr(found.get(other)), 60)}, not {self._header[other]!r}; "
                "give the same options, or another file"
            )

    def _wrong(self, number: int, text: str) -> StateError:
        return StateError(f"{self.path}:{number}: {text}")

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(msgspec.json.encode(document) + b"\n")
        self._file.flush()

    def add(self, result: dict[str, Any]) -> None:
        """A cell is finished."""
        self.results[Cell(result["scenario"], result["patch"], result["arch"], result["seed"])] = result
        self._write(result)

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()

    def __enter__(self) -> StateFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
