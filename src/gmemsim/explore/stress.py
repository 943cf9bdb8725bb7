"""A stress campaign: many scenarios, versions, VM types and seeds, each cell searched a little, resumable.

A cell is one scenario on one version and VM type with one seed. What a finished cell came to is one line of the state
file, written at once; a campaign that is started again with the same file goes on with what is missing. A cell's
result follows from its description alone, so it does not matter which process or machine ran it, or in what order.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from ..scenarios.catalogue import find
from .classes import ClassCounter
from .oracles.livelock import judge
from .program import ScenarioProgram
from .search import Limits, search
from .strategies import make_strategy
from .token import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Cell", "Plan", "StateError", "StateFile", "run_cell", "run_cells"]

_SCHEMA: Final = 2


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
    """

    strategy: str = "portfolio"
    schedules: int = 200
    steps: int = 20_000
    small: bool = True


class StateError(Exception):
    """A state file that cannot be used; the message is one line."""


def run_cell(cell: Cell, plan: Plan) -> dict[str, Any]:
    """Search one cell; the result as it stands in the state file. Every signature is reported once, with a token."""
    program = ScenarioProgram(
        scenario=find(cell.scenario), patch=cell.patch, arch=cell.arch, seed=cell.seed, small=plan.small
    )
    counter = ClassCounter()
    result = search(
        program,
        make_strategy(plan.strategy, cell.seed),
        Limits(schedules=plan.schedules, steps=plan.steps),
        observers=[counter],
        keep_going=True,
        judge=judge,
    )
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return {
        **attrs.asdict(cell),
        "schedules": result.schedules,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "classes": counter.distinct,
        "violations": [
            {
                "rule": found.failure.rule,
                "kind": found.failure.kind,
                "summary": found.failure.summary,
                "known": found.sort[2],
                "replay": encode(program, found.tape, max_steps=plan.steps),
            }
            for found in result.found
        ],
    }


def run_cells(
    cells: Iterable[Cell], plan: Plan, executor: Executor | None, *, width: int = 1
) -> Iterator[dict[str, Any]]:
    """Results as they come: in this process without an executor, else with up to `2 * width` jobs in flight."""
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
            flying.add(executor.submit(run_cell, following, plan))
        if not flying:
            return
        done, flying = wait(flying, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


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
        self._header = {"gmemsim": "stress", "schema": _SCHEMA, **attrs.asdict(plan)}
        try:
            text = path.read_bytes() if path.exists() else b""
            good = self._read(text)
            # What a stop in the middle of a line left behind goes; a whole file stays as it is.
            self._file = path.open("r+b" if path.exists() else "x+b")
            self._file.truncate(good)
            self._file.seek(good)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from None
        if not good:
            self._write(self._header)

    def _read(self, text: bytes) -> int:
        lines = text.split(b"\n")
        good = 0
        for number, line in enumerate(lines[:-1], 1):
            try:
                found = msgspec.json.decode(line)
            except msgspec.DecodeError:
                raise StateError(
                    f"{self.path}:{number}: not JSON; expected a file of `gmemsim stress`"
                ) from None
            if number == 1:
                if not isinstance(found, dict) or found.get("gmemsim") != "stress":
                    raise StateError(f"{self.path}:1: expected a file of `gmemsim stress`")
                other = next((key for key, value in self._header.items() if found.get(key) != value), None)
                if other is not None:
                    raise StateError(
                        f"{self.path}: was made with {other} {found.get(other)!r}, not {self._header[other]!r}; "
                        "give the same options, or another file"
                    )
            else:
                try:
                    cell = Cell(found["scenario"], found["patch"], found["arch"], found["seed"])
                except (TypeError, KeyError):
                    raise StateError(f"{self.path}:{number}: expected a finished cell") from None
                self.results[cell] = found
            good += len(line) + 1
        if lines[-1] and not good:
            raise StateError(f"{self.path}:1: expected a file of `gmemsim stress`")
        return good

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
