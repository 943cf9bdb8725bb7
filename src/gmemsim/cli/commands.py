"""The table of commands. A command appears as soon as its module exists."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final, NamedTuple


class Command(NamedTuple):
    """Where a command is, and what `--help` says about it without importing it.

    Attributes:
        module: below `gmemsim.cli`; it has a click command called `command`.
        summary: one line.
    """

    module: str
    summary: str


#: In the order in which `--help` lists them.
COMMANDS: Final[dict[str, Command]] = {
    "run": Command("run", "Run a scenario once, in virtual time."),
    "demo": Command("demo", "A first look at what the model does."),
    "list": Command("listing", "What there is: patches, VM types, scenarios, …"),
    "show": Command("show", "What a version changes: its functions, with file and line."),
    "diff": Command("diff", "Compare two patches over many runs, or two logs."),
    "query": Command("query", "Ask a log with SQL (DuckDB)."),
    "follow": Command("follow", "Is what a kernel did a run of the model?"),
    "explore": Command("explore", "Search the schedules of a scenario for violations."),
    "replay": Command("replay", "The same failure again, step by step."),
    "outcomes": Command("outcomes", "All final outcomes of a scenario, patch by patch."),
    "litmus": Command("litmus", "Named questions about small workloads, answered for each version."),
    "stress": Command("stress", "A resumable campaign over many seeds."),
    "conform": Command("conform", "Run conformance vectors."),
    "study": Command("study", "Fixed tables of questions: zoo, hazards, litmus, pairs, …"),
    "zoo": Command("zoo", "Seeded real bugs: found or not, and by what."),
    "findings": Command("findings", "What versions get wrong: on which kernels, how sure, how to see it."),
    "explain": Command("explain", "A rule that reports name: what it says, why, on which versions."),
    "hazards": Command("hazards", "What was feared and debated, asked of every patch version."),
    "lab": Command("lab", "Scenarios on real kernels in QEMU, against the model."),
    "bench": Command("bench", "Lock contention across vCPUs, folio sizes, patches and lock policies."),
    "man": Command("man", "The manual page."),
    "completion": Command("completion", "What bash, zsh or fish need to complete names."),
}


def available() -> list[str]:
    """Names of the commands that are there, in the order of the table."""
    return [
        name for name, command in COMMANDS.items() if find_spec(f"{__package__}.{command.module}") is not None
    ]
