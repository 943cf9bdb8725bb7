"""The pytest plugin: tests that run once per schedule, with seed and replay token when one fails.

Loaded in every pytest run of an environment that has gmemsim, so nothing of the model is imported before a test asks
for a fixture. Everything that does work is in `gmemsim.testing`. `docs/testing.md` explains it.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .testing.fixture import Schedules

__all__ = ["gmem_check", "gmem_schedule"]

_HELP = {
    "seed": "seed of the strategies (default: 0, or the marker's)",
    "schedules": "schedules per test, in place of the marker's",
    "seconds": "seconds per test, in place of the marker's",
    "without": "rules that nobody looks after: I33,I36",
    "replay": "run the one schedule of this token, strictly",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line."""
    group = parser.getgroup("gmemsim", "gmemsim: schedules of a modelled kernel")
    group.addoption("--gmemsim-seed", type=int, default=None, metavar="N", help=_HELP["seed"])
    group.addoption("--gmemsim-schedules", type=int, default=None, metavar="N", help=_HELP["schedules"])
    group.addoption("--gmemsim-seconds", type=float, default=None, metavar="S", help=_HELP["seconds"])
    group.addoption("--gmemsim-without", default=None, metavar="RULES", help=_HELP["without"])
    group.addoption("--gmemsim-replay", default=None, metavar="TOKEN", help=_HELP["replay"])


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers",
        "gmemsim(schedules=200, strategy='auto', seconds=None, seed=0): how often a test that takes the fixture "
        "gmem_schedule runs, and who chooses the schedules",
    )


@pytest.fixture
def gmem_schedule(request: pytest.FixtureRequest) -> Schedules:
    """The schedule of this run of the test, which runs once for each; build the session with it."""
    from .testing.fixture import from_item

    return from_item(request.node)


@pytest.fixture
def gmem_check(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`gmemsim.testing.check` with the marker's and the command line's budget."""
    from .testing.fixture import check_for_item

    return check_for_item(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Have a test with `gmem_schedule` called once per schedule. pytest-trio has made it a plain function by now."""
    schedules: Any = pyfuncitem.funcargs.get("gmem_schedule")
    if schedules is None:
        return (yield)
    whole = pyfuncitem.obj
    pyfuncitem.obj = schedules.repeating(whole, pyfuncitem.funcargs)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = whole


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Say what of a patch ran in no single run of the test (`run_once`, `GmemMachine`), if it made some and passed."""
    single_runs: Any = sys.modules.get("gmemsim.testing.single_runs")
    if single_runs is not None:
        single_runs.forget()
    result = yield
    single_runs = sys.modules.get("gmemsim.testing.single_runs")
    if single_runs is not None:
        for text in single_runs.told():
            warnings.warn(text, single_runs.NeverRan, stacklevel=1)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the counts on the report: reports are what comes back from the processes of pytest-xdist."""
    report = yield
    used = getattr(item, "funcargs", {})
    schedules = used.get("gmem_schedule") or used.get("gmem_check")
    if call.when == "call" and schedules is not None:
        report.gmemsim = schedules.counts()  # type: ignore[attr-defined] # reports carry extra attributes
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line on what was explored."""
    reports = [
        report
        for kind in ("passed", "failed", "skipped", "xfailed", "xpassed")
        for report in terminalreporter.getreports(kind)
        if getattr(report, "gmemsim", None) is not None
    ]
    if not reports:
        return
    runs = sum(report.gmemsim["schedules"] for report in reports)
    classes = sum(report.gmemsim["classes"] for report in reports)
    seeds = sorted({seed for report in reports for seed in report.gmemsim["seeds"]})
    terminalreporter.write_line(
        f"gmemsim: {len(reports)} test{'s' * (len(reports) != 1)}, {runs} schedules, {classes} distinct classes, "
        f"seed {', '.join(map(str, seeds)) or '-'}"
    )
    if terminalreporter.config.get_verbosity() > 0:
        for report in reports:
            terminalreporter.write_line(f"  {report.nodeid}: {report.gmemsim['text']}")
