"""Put a real failure report into docs/explore.md: search, shrink and report the scenario that the page shows."""

from __future__ import annotations

from pathlib import Path

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import search
from gmemsim.explore.shrink import shrink
from gmemsim.explore.strategies.registry import make_strategy
from gmemsim.explore.token import encode
from gmemsim.report import report_failure
from gmemsim.report.text import render_text
from gmemsim.scenarios.scenario import loads

PAGE = Path(__file__).parent / "explore.md"
BEGIN, END = "<!-- report -->\n", "<!-- /report -->"
WIDTH = 110


def report(toml: str) -> str:
    """The report of the first failure that the default strategy finds."""
    program = ScenarioProgram(scenario=loads(toml, "poison_punch.toml"), patch="v3")
    (found,) = search(program, make_strategy("portfolio")).found
    small = shrink(program, found)
    token = encode(small.program, small.found.tape)
    return render_text(report_failure(small.program, small.found, token), WIDTH)


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    toml = text.split("```toml\n")[1].split("```")[0]
    head, rest = text.split(BEGIN)
    made = f"{head}{BEGIN}\n```text\n{report(toml)}```\n\n{END}{rest.split(END)[1]}"
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
