"""Ctrl-C, SIGTERM and SIGKILL in each phase of each command: is what was found told, and is nothing left behind?

    python bench/interrupts.py [NAME ...] [--page]

Each row is a command and a function that it enters in the phase that is meant; when it enters it for the Nth time, it
gets the signal from within, so the moment is the same on every machine. After SIGINT and SIGTERM the command has to end
with what there was, without a traceback, with exit code 130 (or 1 where something was found); after SIGKILL nothing can
be told, and no process may be left. `--page` writes docs/interrupts.md.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import attrs

__all__ = ["CASES", "Came", "Case", "try_case"]

ROOT: Final = Path(__file__).parents[1]
_RECORDED: Final = shlex.quote(str(ROOT / "src" / "gmemsim" / "scenarios" / "recorded" / "7.2.13"))
PAGE: Final = ROOT / "docs" / "interrupts.md"
#: Seconds until a process that has not ended by then counts as hanging; the machine may be slow.
PATIENCE: Final = 200.0
#: Seconds that workers have to end after their parent was killed.
GONE: Final = 30.0

#: Runs a command in a process of its own that signals itself in a function; the function is replaced where it is used.
_CHILD: Final = """
import os, signal, sys
from importlib import import_module

place, count, number, *arguments = sys.argv[1:]
# Where a script in the background started us SIGINT is ignored, and is in all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)
module, _, name = place.rpartition(":")
owner = import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
real = getattr(owner, name)
left = [int(count)]


def reached(*args, **options):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), int(number))
    return real(*args, **options)


setattr(owner, name, reached)
sys.argv = ["gmemsim", *arguments]
from gmemsim.cli import main

main()
"""


@attrs.frozen
class Case:
    """One command in one phase.

    Attributes:
        name: of the command and its phase.
        place: function that is entered then, as `module:name`, where it is looked up.
        count: at which entry the signal comes.
        command: what gmemsim is called with, as in a shell.
        kept: texts that have to be in the output after SIGINT and SIGTERM.
        codes: exit codes that are right then.
    """

    name: str
    place: str
    count: int
    command: str
    kept: tuple[str, ...] = ()
    codes: tuple[int, ...] = (130,)


@attrs.frozen
class Came:
    """What came of it.

    Attributes:
        wrong: what is not as it should be; empty if all is.
        code: exit code.
        seconds: from the start.
    """

    wrong: str
    code: int
    seconds: float


_SEARCH: Final = "gmemsim.explore.search:_one"
_DEADLOCK: Final = "explore zoo-poison_punch --patch v3 --strategy random"
_FAILS: Final = "explore punch --patch v3+prepare-outside-folio-lock --strategy random"

CASES: Final = (
    Case("explore, searching", _SEARCH, 30, "explore punch --strategy random", ("29 runs", "No violation")),
    Case("explore, every state", _SEARCH, 30, "explore punch", ("interrupted",)),
    Case(
        "explore --keep-going, searching",
        _SEARCH,
        400,
        f"{_DEADLOCK} --keep-going --no-shrink",
        ("deadlock",),
        (1,),
    ),
    Case(
        "explore, judging",
        "gmemsim.explore.campaign:judge",
        1,
        "explore punch --strategy random --max-steps 5",
        ("interrupted before it was judged",),
        (1,),
    ),
    Case(
        "explore, shrinking",
        "gmemsim.explore.shrink_try:attempt",
        8,
        _DEADLOCK,
        ("deadlock", "replay gm1:"),
        (1,),
    ),
    Case(
        "explore, report",
        "gmemsim.report.collect:find_nearest",
        1,
        _DEADLOCK,
        ("deadlock", "replay gm1:"),
        (1,),
    ),
    Case(
        "explore --html, writing",
        "gmemsim.cli.reporting:write_whole",
        1,
        f"{_FAILS} --html page.html --no-shrink --no-cycles",
        ("I33", "page.html: whole"),
        (1,),
    ),
    Case(
        "explore --jobs",
        "gmemsim.explore.campaign_merger:Merger.add",
        2,
        "explore punch --strategy random --jobs 2 --max-schedules 1000000",
        ("No violation",),
    ),
    Case(
        "explore --against",
        _SEARCH,
        60,
        "explore punch --strategy random --max-schedules 50 --against v2",
        ("interrupted",),
        (130, 2),
    ),
    Case("replay", "gmemsim.explore.replay:attempt", 1, "replay @token", (), (130,)),
    Case("run", "gmemsim.scenarios.thread:Thread.step", 20, "run punch", ("interrupted", "vcpu0")),
    Case(
        "run --log",
        "gmemsim.scenarios.thread:Thread.step",
        20,
        "run punch --log x.jsonl",
        ("interrupted", "x.jsonl: not there"),
    ),
    Case(
        "outcomes, second version",
        _SEARCH,
        60,
        "outcomes same --patch v3 --patch v2 --strategy random --max-schedules 50",
        ("v3", "v2"),
    ),
    Case(
        "stress, second cell",
        "gmemsim.explore.stress:run_cell",
        2,
        "stress zoo-poison_punch --arch sw-protected --seeds 3 --schedules 100 --state s.state",
        ("1 of 3 cells", "s.state: 2 lines"),
        (130,),
    ),
    Case(
        "stress --jobs",
        "gmemsim.cli.stress:_cell",
        1,
        "stress same --arch snp --seeds 50 --schedules 200 --jobs 2",
        ("interrupted",),
    ),
    Case("litmus", "gmemsim.studies.litmus:run_litmus", 2, "litmus first_fault", ("first_fault",)),
    Case("conform", "gmemsim.scenarios.conform.suite:judge", 3, "conform --arch default", ("2 of ",)),
    Case(
        "zoo",
        "gmemsim.studies.zoo:Zoo.ask",
        2,
        "zoo launch-finish-repeated unbind-skips-dying-file --repetitions 1 --schedules 50",
        ("launch-finish-repeated",),
    ),
    Case(
        "zoo --jobs",
        "gmemsim.studies.survey:Survey._add",
        2,
        "zoo --repetitions 1 --schedules 500 --jobs 2",
        ("bugs found",),
    ),
    Case(
        "study pairs --state",
        "gmemsim.studies.matrix:explore_cell",
        3,
        "study pairs allocate --patch v3 --states 200 --state p.state",
        ("2 searches", "p.state: 3 lines"),
    ),
    Case("hazards", "gmemsim.studies.hazards:Hazards.ask", 2, "hazards 14 --schedules 50", ("prepare",)),
    Case(
        "diff of versions",
        "gmemsim.scenarios.session:Session.run",
        5,
        "diff v2 v3 --scenario same --seeds 10",
        ("interrupted",),
    ),
    Case(
        "bench",
        "gmemsim.contention.campaign:run_cell",
        2,
        "bench contention --vcpus 1,2 --pages 4",
        ("first-touch",),
    ),
    Case(
        "follow, second trace",
        "gmemsim.follow.follower:follow",
        2,
        f"follow {_RECORDED}/sh_same_v2.trace.gz {_RECORDED}/sh_punch1_v1.trace.gz",
        ("accepted",),
    ),
    Case(
        "explore, lock cycles",
        "gmemsim.explore.lock_graph.directed:Steering.pick",
        1,
        "explore zoo-poison_allocate --patch v3 --strategy random --max-schedules 5",
        ("interrupted", "lock cycle"),
    ),
    Case("demo", "gmemsim.scenarios.session:Session.run", 2, "demo"),
)


def _prepare(folder: Path) -> None:
    """Inputs that some rows read."""
    if not (folder / "token").exists():
        done = subprocess.run(
            [sys.executable, "-m", "gmemsim", *shlex.split(_FAILS), "--json", "--no-shrink"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        import json

        (folder / "token").write_text(json.loads(done.stdout)["violation"]["replay"])


def _group(pid: int) -> list[str]:
    """Processes of the session that are left, as `ps` names them."""
    done = subprocess.run(
        ["ps", "-s", str(pid), "-o", "pid=,stat=,args="], capture_output=True, text=True, check=False
    )
    return [line for line in done.stdout.splitlines() if " Z" not in line[:20]]


def try_case(case: Case, number: signal.Signals, folder: Path) -> Came:
    """Run it once."""
    if case.name == "replay":
        _prepare(folder)
    began = time.monotonic()
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _CHILD,
            case.place,
            str(case.count),
            str(int(number)),
            *shlex.split(case.command),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return Came("does not end", -1, time.monotonic() - began)
    seconds = time.monotonic() - began
    until = time.monotonic() + GONE
    while left := _group(child.pid):
        if time.monotonic() > until:
            os.killpg(child.pid, signal.SIGKILL)
            return Came(f"left behind: {left[0].strip()}", child.returncode, seconds)
        time.sleep(0.1)
    return Came(_wrong(case, number, child.returncode, out + err, folder), child.returncode, seconds)


def _wrong(case: Case, number: signal.Signals, code: int, text: str, folder: Path) -> str:
    if number == signal.SIGKILL:
        return "" if code in (-signal.SIGKILL, 0) else f"exit code {code}, never reached: {text[-200:]}"
    if "Traceback" in text or "internal error" in text:
        return f"a traceback: {text[-300:]}"
    if code not in case.codes:
        return f"exit code {code}: {text[-200:]}"
    for kept in case.kept:
        name, colon, state = kept.partition(": ")
        if colon and "." in name:
            if not _as_said(folder / name, state):
                return f"{name} is not {state}"
        elif kept not in text:
            return f"not told: {kept}: {text[-300:]}"
    return ""


def _as_said(path: Path, state: str) -> bool:
    """A file that the command writes: `whole`, `not there`, or so many lines."""
    if state == "not there":
        return not path.exists() and not list(path.parent.glob(f".{path.name}.*"))
    if state == "whole":
        return path.read_text().rstrip().endswith("</html>")
    return path.read_bytes().count(b"\n") == int(state.split(maxsplit=1)[0])


def main() -> int:
    """Run all, print the table; 1 if something is wrong."""
    page = "--page" in sys.argv
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    rows = []
    failed = 0
    for case in CASES:
        if names and not any(name in case.name for name in names):
            continue
        cells = []
        for number in signals:
            with tempfile.TemporaryDirectory() as folder:
                came = try_case(case, number, Path(folder))
            failed += bool(came.wrong)
            cells.append(
                came.wrong or ("no process left" if number == signal.SIGKILL else f"exit {came.code}")
            )
        rows.append((case, cells))
        print(f"{case.name}: " + "; ".join(cells), flush=True)
    if page:
        PAGE.write_text(_page(rows))
    return 1 if failed else 0


def _page(rows: list[tuple[Case, list[str]]]) -> str:
    lines = [
        "# What an interrupt keeps",
        "",
        "Made by `python bench/interrupts.py --page`: each command gets a signal in the middle of a phase.",
        "After Ctrl-C (SIGINT) and SIGTERM it has to end with what there was: the texts under *told* are in its output",
        "(or a file is as it says), there is no traceback, and the exit code is 130, or 1 where something was found.",
        "After SIGKILL nothing can be told; no process is left.",
        "",
        "| command, phase | told | SIGINT | SIGTERM | SIGKILL |",
        "|---|---|---|---|---|",
    ]
    for case, cells in rows:
        lines.append(f"| {case.name} | {', '.join(case.kept) or '-'} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
