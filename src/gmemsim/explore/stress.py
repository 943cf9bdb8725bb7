"""A stress campaign: many scenarios, versions, VM types and seeds, each cell searched a little, resumable.

A cell is one scenario on one version and VM type with one seed. What a finished cell came to is one line of the state
file, written at once; a campaign that is started again with the same file goes on with what is missing. A cell's
result follows from its description and the sources alone (the model's, and users' files), so it does not matter which
process or machine ran it, or in what order; one of other sources is run again.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import attrs
import msgspec

from ..jobs.share import share
from ..jobs.sources import of_files, of_model
from ..jobs.state_file import StateFile
from ..jobs.workers import tick
from ..scenarios.catalogue import find
from .again import same_again
from .classes import ClassCounter
from .judges.livelock import judge
from .past_choices import broken_choices, merged
from .program import ScenarioProgram, leaving_out, read_files, watched
from .search import Limits, search
from .strategies import make_strategy
from .token import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ..jobs.share import Place
    from .search import SearchResult

_SCHEMA: Final = 3
#: Whose sources a result follows from.
_ROOMS: Final = ("audit", "engine", "arch", "actors", "patches", "oracles", "scenarios", "explore")


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
        oracles, operations: of users' files, as in `ScenarioProgram`.
    """

    strategy: str = "portfolio"
    schedules: int = 200
    steps: int = 20_000
    small: bool = True
    without: tuple[str, ...] = ()
    oracles: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()


def sources_of(cell: Cell, plan: Plan) -> str:
    """Another text when the model, the patch, the scenario or a file of the plan's has changed."""
    digest = blake2b(of_model(*_ROOMS).encode(), digest_size=8)
    digest.update(find(cell.scenario).source.text.encode())
    for each in of_files((cell.patch, *plan.oracles, *plan.operations)).items():
        digest.update("\0".join(each).encode())
    return digest.hexdigest()


class CellInterrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a cell.

    Attributes:
        result: what there was of it. It is no finished cell.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


def run_cell(cell: Cell, plan: Plan) -> dict[str, Any]:
    """Search one cell; the result as it stands in the state file. Each kind of failure has one entry and a token."""
    read_files(cell.patch, plan.oracles, plan.operations)
    program = ScenarioProgram(
        scenario=find(cell.scenario),
        patch=cell.patch,
        arch=cell.arch,
        seed=cell.seed,
        small=plan.small,
        oracles=plan.oracles,
        operations=plan.operations,
        without=frozenset(plan.without),
    )
    counter = ClassCounter()
    past: frozenset[str] = frozenset()
    with watched(program) as entered, same_again(program, plan.steps) as look_again:
        result = _search(program, cell, plan, counter)
        schedules, steps = result.schedules, result.steps
        while (
            choices := broken_choices(result.found, keep_going=True)
        ) > past and result.stopped != "interrupted":
            past = choices
            more = _search(leaving_out(program, past), cell, plan, counter)
            schedules, steps = schedules + more.schedules, steps + more.steps
            result = merged(result, more, past)
    entered.refuse_state()
    if not result.found and result.stopped != "interrupted":
        look_again()
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
                "place": found.failure.place,
                "summary": found.failure.summary,
                "known": found.sort[2],
                "replay": encode(leaving_out(program, found.without), found.tape, max_steps=plan.steps),
            }
            for found in result.found
        ],
        "never_ran": list(entered.never),
        "errnos": sorted(entered.errnos),
        "past": list(result.past),
        "sources": sources_of(cell, plan),
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


def run_cells(cells: Iterable[Cell], plan: Plan, where: Place) -> Iterator[dict[str, Any]]:
    """Results as they come.

    Raises:
        WorkerKilled: a process is gone, or all machines of the cluster are.
    """
    return share(partial(run_cell, plan=plan), cells, where)


Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class _Violation(msgspec.Struct):
    rule: str
    kind: str
    summary: str
    known: str
    replay: str
    place: str = ""


class _Result(msgspec.Struct):
    """A line of a state file; `run_cell` writes it."""

    scenario: str
    patch: str
    arch: str
    seed: int
    schedules: Count
    steps: Count
    seconds: Annotated[float, msgspec.Meta(ge=0)]
    classes: Count
    violations: list[_Violation]
    never_ran: list[str] = []
    errnos: list[str] = []
    past: list[str] = []
    sources: str = ""


def _cell(result: _Result) -> Cell:
    return Cell(result.scenario, result.patch, result.arch, result.seed)


def open_state(path: Path, plan: Plan) -> StateFile[Cell]:
    """The state file of a campaign with this plan.

    Raises:
        StateError: the file is of another plan, in use, or no state file at all.
    """
    lists = {key: list(value) for key, value in attrs.asdict(plan).items() if isinstance(value, tuple)}
    header = {"schema": _SCHEMA, **attrs.asdict(plan), **lists}
    return StateFile(path, "stress", header, _Result, _cell)
