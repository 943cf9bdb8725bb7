"""Ctrl-C, SIGTERM, limits and killed processes: what was found is told, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.engine import interrupts
from gmemsim.engine.interrupts import TimeUp, deadline
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.stress import Plan, open_state
from gmemsim.jobs.state_file import StateError
from gmemsim.jobs.workers import Workers
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

    from gmemsim.engine.tape import Tape
    from gmemsim.explore.failure import Failure
    from gmemsim.explore.runs import Program

HEAD = "from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3):\n"
ENDLESS = (
    HEAD + "    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):\n        while True:\n            pass\n"
)
#: A fault that is tried again for ever.
RETRIES = HEAD + "    def mmu_invalidate_retry_gfn(self, vm, seq, gfn):\n        return True\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of Python, which does not outlive the block, whatever a test finds."""
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def of_group(group: int) -> list[int]:
    """Processes of a process group that still run something."""
    shown = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in shown.splitlines()]
    return [int(pid) for pid, pgid, stat in rows if int(pgid) == group and not stat.startswith("Z")]


def test_a_run_that_goes_round_ends_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RETRIES)
    result = run("run", "same", "--small", "--patch", f"{tmp_path}/mine.py:Mine", "--no-check")
    assert result.exit_code == 1
    assert "livelock: vcpu0" in result.stdout


def test_a_patch_that_never_comes_back_meets_the_limit(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENDLESS)
    result = run(
        *("explore", "same", "--patch", f"{tmp_path}/mine.py:Mine", "--max-seconds", "0.5", "--json"),
    )
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert (found["verdict"], found["schedules"]) == ("undecided", 0)
    assert (found["stopped"], found["complete"]) == ("seconds", False)


def test_a_deadline_comes_again_until_it_is_heeded() -> None:
    def deaf_once() -> None:
        with suppress(TimeUp):
            while True:
                pass
        while True:
            pass

    with pytest.raises(TimeUp), deadline(0.05):
        deaf_once()
    with deadline(None):
        pass


def test_a_deadline_that_is_over_when_its_timer_is_set_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    real = interrupts._arm
    calls: list[None] = []

    def arm() -> None:
        real()
        calls.append(None)
        if len(calls) == 1:
            raise TimeUp

    monkeypatch.setattr(interrupts, "_arm", arm)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeUp), deadline(1000):
        pass
    assert (interrupts._deadlines, signal.getitimer(signal.ITIMER_REAL)[0]) == ([], 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_interrupted_judge_keeps_the_failure() -> None:
    def judge(program: Program, failure: Failure, tape: Tape, steps: int) -> Failure | None:
        raise KeyboardInterrupt

    program = ScenarioProgram(scenario=load_named("punch"))
    result = search(program, make_strategy("random", 0), Limits(schedules=3, steps=5), judge=judge)
    assert result.stopped == "interrupted"
    assert [found.failure.rule for found in result.found] == ["step_limit"]
    assert "interrupted before it was judged" in result.found[0].failure.summary


def test_a_block_that_an_interrupt_left_open_is_closed_without_a_word() -> None:
    code = "from gmemsim.engine.blame import model_code; block = model_code(); block.__enter__(); del block"
    with start("-c", code) as child:
        assert child.communicate(timeout=100) == ("", "")


#: A signal, or a limit, comes once, in code whose exceptions are lost.
LOST = """
import gc, os, signal, sys, time
from gmemsim.engine import interrupts
from gmemsim.engine.interrupts import deadline, listen

sent = []


def time_is_up():
    interrupts._deadlines[0].due = 0
    interrupts._arm()
    time.sleep(60)


def send(*_):
    if not sent:
        sent.append(1)
        {how}


class Dies:
    def __del__(self):
        send()


signal.signal(signal.SIGINT, signal.default_int_handler)
listen()
try:
    with deadline({limit}, again=False):
        {where}
        while True:
            time.sleep(0.01)
except KeyboardInterrupt as error:
    print("heard", type(error).__name__, len(sent))
"""


@pytest.mark.parametrize("where", ["gc.callbacks.append(send); gc.collect()", "Dies()"])
@pytest.mark.parametrize(
    ("how", "limit", "heard"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", None, "KeyboardInterrupt"),
        ("os.kill(os.getpid(), signal.SIGTERM)", None, "KeyboardInterrupt"),
        ("time_is_up()", 1000, "TimeUp"),
    ],
)
def test_a_signal_is_not_lost_where_exceptions_are(
    how: str, limit: float | None, heard: str, where: str
) -> None:
    with start("-c", LOST.format(how=how, limit=limit, where=where)) as child:
        out, err = child.communicate(timeout=100)
    assert (out, err) == (f"heard {heard} 1\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_found_is_told_whatever_is_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    """The signal comes at some moment after the first failure: the search goes on, with the state file telling."""
    state = tmp_path / "x.state"
    (tmp_path / "mine.py").write_text(
        HEAD + "    async def kvm_gmem_clear_folio(self, *args):\n        pass\n"
    )
    arguments = ("stress", "same", "--patch", f"{tmp_path}/mine.py:Mine", "--seeds", "100000", "--json")
    with start("-m", "gmemsim", *arguments, "--schedules", "5", "--state", str(state)) as child:
        until(lambda: state.exists() and state.read_bytes().count(b"\n") > 2)
        child.send_signal(number)
        out, err = child.communicate(timeout=100)
    assert (child.returncode, err) == (130, "")
    found = json.loads(out)
    assert found["interrupted"]
    assert found["violations"]


def test_two_campaigns_on_one_state(tmp_path: Path) -> None:
    path = tmp_path / "x.state"
    plan = Plan(schedules=5)
    with open_state(path, plan):
        before = path.read_bytes()
        with pytest.raises(StateError, match="another campaign is writing to it"):
            open_state(path, plan)
        assert path.read_bytes() == before
    with open_state(path, plan) as again:
        assert again.results == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x", r":2: expected a finished cell"),
        ('{"scenario":"same"}', r":2: expected a finished cell: .*missing required field"),
        ('{"scenario":[],"patch":"v3","arch":"snp","seed":0}', r":2: expected a finished cell"),
        ("[" * 5000, r":2: expected a finished cell"),
        (
            '{"scenario":"same","patch":"v3","arch":"snp","seed":0,"schedules":5,"steps":1,"seconds":0.1,"classes":1,'
            '"violations":[{}]}',
            r":2: expected a finished cell",
        ),
    ],
)
def test_a_state_of_wrong_shape_is_refused_with_its_line(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.state"
    with open_state(path, Plan(schedules=5)):
        pass
    text = f"{path.read_text()}{line}\n"
    path.write_text(text)
    with pytest.raises(StateError, match=says) as refused:
        open_state(path, Plan(schedules=5))
    assert "\n" not in str(refused.value)
    assert path.read_text() == text
    result = run("stress", "same", "--state", "/dev/full")
    assert (result.exit_code, "not a regular file" in result.stderr) == (2, True)


@pytest.mark.parametrize("how", ["a worker is killed", "the parent is killed"])
def test_killed_processes(how: str, tmp_path: Path) -> None:
    state = tmp_path / "x.state"
    arguments = ("stress", "same", "--seeds", "100000", "--schedules", "5", "--jobs", "2", "--json")
    with start("-m", "gmemsim", *arguments, "--state", str(state)) as child:
        until(lambda: state.exists() and state.read_bytes().count(b"\n") > 4)
        if how == "a worker is killed":
            workers = [
                pid
                for pid in of_group(child.pid)
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            os.kill(workers[-1], signal.SIGKILL)
            out, err = child.communicate(timeout=100)
            assert child.returncode == 2
            assert "a worker process was killed" in err
            assert "Traceback" not in err
            assert json.loads(out)["finished"] >= 3
        else:
            child.kill()
            child.wait(timeout=100)
        until(lambda: not of_group(child.pid))


def test_a_worker_does_not_hear_ctrl_c_while_it_starts() -> None:
    """Before it has set its own handler: the signal is blocked from its birth."""
    with Workers(1) as workers:
        blocked = workers.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result(timeout=100)
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize(
    ("where", "arguments", "kept"),
    [
        (
            "gmemsim.contention.campaign.run_cell",
            ("bench", "contention", "--vcpus", "1,2", "--pages", "4"),
            "first-touch",
        ),
        ("gmemsim.scenarios.conform.suite.judge", ("conform", "--arch", "default"), "1 of "),
        ("gmemsim.audit.query.ask", ("query", "x.jsonl", "SELECT 1"), ""),
    ],
)
def test_ctrl_c_after_the_first_answer(
    where: str, arguments: tuple[str, ...], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, name = where.rpartition(".")
    real = getattr(import_module(module), name)
    calls: list[None] = []

    def once(*args: object, **options: object) -> object:
        calls.append(None)
        if len(calls) > 1 or name == "ask":
            # As the signal does it: one that code of a user's raises is no Ctrl-C.
            interrupts._interrupt(signal.SIGINT, None)
        return real(*args, **options)

    monkeypatch.setattr(interrupts, "_last", -interrupts._IMPATIENT)
    monkeypatch.setattr(where, once)
    result = run(*arguments)
    assert (result.exit_code, "Traceback" in result.stderr) == (130, False), result.output
    assert "interrupted" in result.stderr
    assert kept in result.stdout
