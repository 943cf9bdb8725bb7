"""`gmemsim study pairs`, `triples`, `quadruples` and `library`: only findings that are known show."""

from __future__ import annotations

from typing import Any, Final

from .asking import study_command

_CELLS: Final = """Every {} of OPERATIONS at once, on one page, in each state of it in which they mean something.

    OPERATIONS are joined by " + "; one alone (punch) stands for all cells that have it. Every state of a cell is looked
    at, up to --states; where there are more, schedules with few preemptions are enumerated, and where those were not
    all, some more are drawn. Exit code 1 if something was met that is no known finding.
    """
_BUDGET: Final[dict[str, Any]] = {
    "strategies": "preemption:2",
    "states": 100_000,
    "schedules": 60,
    "sampled": 60,
    "pages": 1,
}

pairs = study_command("pairs", _CELLS.format("pair"), "[OPERATIONS]...", **_BUDGET)
triples = study_command("triples", _CELLS.format("three"), "[OPERATIONS]...", **_BUDGET)
quadruples = study_command("quadruples", _CELLS.format("four"), "[OPERATIONS]...", **_BUDGET)
library = study_command(
    "library",
    """Every scenario of the library (or those given) on every version as it is, on every VM type.

    All oracles look, to the end of each search, whatever is found. Exit code 1 if something was met that is no known
    finding, or if a known finding did not show where it has to.
    """,
    "[SCENARIO]...",
    strategies="portfolio",
    schedules=200,
    known=300,
    seconds=None,
)
