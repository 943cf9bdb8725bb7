"""`gmemsim explore`, `replay`, `outcomes`: what they print, what they write, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gmemsim.audit.reader import read_log
from gmemsim.cli.group import cli

SCENARIO = """\
[scenario]
name = "mf_punch"
summary = "A memory failure against a punch"
question = "Can they wait for each other?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x10000

[[task]]
name = "first"
ops = [{ op = "allocate", file = "gmem0" }, { op = "FIRST", file = "gmem0" }]

[[task]]
name = "punch"
ops = [{ op = "punch", file = "gmem0" }]
"""

PATCH = """\
from gmemsim.patches.v3 import V3


class Mine(V3):
    async def kvm_gmem_punch_hole(self, t, inode, start, end):
        return -22
"""


ABBA = """\
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.patches.v3 import V3


class Abba(V3):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.locks = Mutex("one"), Mutex("other")

    async def kvm_gmem_fallocate(self, t, *args, **options):
        for lock in self.locks if t.name == "first" else self.locks[::-1]:
            await lock.lock(t)
        for lock in self.locks:
            await lock.unlock(t)
        return await super().kvm_gmem_fallocate(t, *args, **options)
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def deadlock(tmp_path: Path) -> str:
    path = tmp_path / "mf.toml"
    path.write_text(SCENARIO.replace("FIRST", "memory_failure"))
    return str(path)


@pytest.fixture
def fine(tmp_path: Path) -> str:
    path = tmp_path / "fine.toml"
    path.write_text(SCENARIO.replace("FIRST", "punch"))
    return str(path)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(
        SCENARIO.replace('{ op = "FIRST", file = "gmem0" }', "").replace("pages = 2", "pages = 1")
    )
    return str(path)


def document(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_violation_is_reported_shrunk_and_replayable(deadlock: str) -> None:
    result = run("explore", deadlock)
    assert result.exit_code == 1
    assert result.stdout.startswith("deadlock at step ")
    assert "gmemsim replay gm1:" in result.stdout
    assert "lock cycle folio (w) → invalidate_lock (w) → folio: witnessed" in result.stdout
    assert "not complete: stopped at the first violation" in result.stdout
    found = document("explore", deadlock)
    assert found["verdict"] == "violation"
    assert found["complete"] is False
    violation = found["violation"]
    assert violation["rule"] == "deadlock"
    assert violation["preemptions"] <= 1
    assert violation["schedule_length"] >= 1
    (cycle,) = found["potential_cycles"]
    assert cycle["verdict"] == "witnessed"
    again = run("replay", violation["replay"])
    assert again.exit_code == 1
    assert "Replayed: the same failure; the log is the same, byte for byte." in again.stdout


def test_a_deadlock_beyond_the_bound_of_the_search_is_a_violation(tiny: str, tmp_path: Path) -> None:
    patch = tmp_path / "abba.py"
    patch.write_text(ABBA)
    arguments = ("explore", tiny, "--patch", f"{patch}:Abba", "--strategy", "preemption:0")
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout.startswith("deadlock at step ")
    assert "No violation found" not in result.stdout
    assert (
        "every schedule of this scenario at this size within that, or one equivalent to it" in result.stdout
    )
    assert ": witnessed" in result.stdout
    found = document(*arguments)
    assert (found["verdict"], found["violation"]["rule"]) == ("violation", "deadlock")
    assert run("replay", found["violation"]["replay"], "--patch", f"{patch}:Abba").exit_code == 1


WAITS = """\
from gmemsim.engine.cell import Cell
from gmemsim.patches.v3 import V3


class Waits(V3):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.flag = Cell("flag", 0)

    async def kvm_gmem_fallocate(self, t, *args, **options):
        while t.name != "setup" and not await self.flag.load(t):
            pass
        return await super().kvm_gmem_fallocate(t, *args, **options)
"""


def test_a_loop_of_several_tasks_has_a_token_everywhere(tiny: str, tmp_path: Path) -> None:
    """Its choices end in the middle of the loop, and a replay with them."""
    patch = tmp_path / "waits.py"
    patch.write_text(WAITS)
    mine = ("--patch", f"{patch}:Waits")
    tokens = [
        document("explore", tiny, *mine)["violation"]["replay"],
        document("outcomes", tiny, *mine)[mine[1]]["outcomes"][0]["token"],
    ]
    few = ("--arch", "snp", "--seeds", "1", "--schedules", "20")
    result = run("stress", tiny, *mine, "--strategy", "stateful", *few)
    assert result.exit_code == 1, result.output
    tokens += re.findall(r"gm1:[\w=-]+", result.stdout)
    assert len(tokens) == 3
    for token in tokens:
        again = run("replay", token, *mine)
        assert again.exit_code == 1
        assert "Replayed: the same failure" in again.stdout


def test_nothing_found_says_what_was_covered(fine: str) -> None:
    result = run("explore", fine, "--max-schedules", "60", "--max-states", "50")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("No violation found.")
    assert "not complete: stopped at --max-schedules; 5" in result.stdout
    assert "states, then 60 schedules sampled" in result.stdout
    found = document("explore", fine, "--max-schedules", "60", "--strategy", "portfolio")
    assert found["verdict"] == "none"
    assert found["complete"] is False
    assert (found["schedules"], found["states"], found["sampled"]) == (60, None, None)
    assert found["violation"] is None


def test_complete_search_says_so_with_its_scope(tiny: str) -> None:
    found = document("explore", tiny, "--strategy", "dpor")
    assert found["complete"] is True
    assert "I12" in found["left_out"]
    assert "guarded_by" in found["rules"]
    result = run("explore", tiny, "--strategy", "dpor")
    assert "every schedule of this scenario at this size, or one equivalent to it" in result.stdout
    assert "left out, as dpor does not preserve them: I1 to " in result.stdout
    result = run("explore", tiny)
    assert re.search(r"complete: [\d,]+ states, no violation of the rules I1 to .*, livelock", result.stdout)
    found = document("explore", tiny)
    assert found["complete"] is True
    assert found["states"] > 1
    assert found["left_out"] == []
    assert {"I1", "deadlock", "linearizability"} <= set(found["rules"])


def test_page_and_trace_are_written(deadlock: str, tmp_path: Path) -> None:
    page, trace = tmp_path / "out.html", tmp_path / "out.json"
    assert run("explore", deadlock, "--html", str(page), "--trace", str(trace)).exit_code == 1
    text = page.read_text()
    assert text.startswith("<!")
    assert "invalidate_lock" in text
    assert "traceEvents" in json.loads(trace.read_text())
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "zigzag"], "zigzag"),
        (["--patch", "v9"], "patch 'v9'"),
        (["--html", "/no/such/place/x.html"], "no such directory"),
        (["--set", "colour=red"], "colour"),
        (["--lock", "velcro"], "velcro"),
    ],
)
def test_bad_usage_is_one_line(fine: str, arguments: list[str], message: str) -> None:
    result = run("explore", fine, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_own_patch(tiny: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(PATCH)
    found = document("outcomes", tiny, "--patch", "v3", "--patch", f"{mine}:Mine")
    assert found["v3"]["complete"]
    assert {each["outcome"] for each in found["v3"]["outcomes"]}.isdisjoint(
        each["outcome"] for each in found[f"{mine}:Mine"]["outcomes"]
    )


def test_outcomes_side_by_side(tiny: str) -> None:
    result = run("outcomes", tiny, "--patch", "baseline", "--patch", "v3")
    assert result.exit_code == 0, result.output
    assert "baseline" in result.stdout
    assert "complete" in result.stdout
    found = document("outcomes", tiny, "--patch", "baseline", "--patch", "v3")
    sets = [{each["outcome"] for each in found[patch]["outcomes"]} for patch in ("baseline", "v3")]
    assert sets[0] == sets[1]
    assert len(sets[0]) >= 2


def test_outcomes_by_two_processes_are_those_of_one() -> None:
    asked = ("outcomes", "litmus-hole", "--patch", "v3", "--patch", "baseline")
    for way in ((), ("--strategy", "random", "--max-schedules", "60")):
        one, two = (document(*asked, *way, *jobs) for jobs in ((), ("--jobs", "2")))
        for patch in ("v3", "baseline"):
            assert one[patch]["complete"] == two[patch]["complete"] == (not way)
            outcomes = [sorted(each["outcome"] for each in done[patch]["outcomes"]) for done in (one, two)]
            assert outcomes[0] == outcomes[1]
            assert outcomes[0]
            verdicts = [[each["verdict"] for each in done[patch]["conditions"]] for done in (one, two)]
            assert verdicts[0] == verdicts[1]


def test_outcomes_answers_the_scenarios_conditions() -> None:
    found = document("outcomes", "litmus-hole", "--patch", "v3")["v3"]
    assert [each["verdict"] for each in found["conditions"]] == ["sometimes", "never"]
    assert found["conditions"][0]["meets"] in {each["token"] for each in found["outcomes"]}
    result = run("outcomes", "litmus-hole", "--patch", "v3")
    assert result.exit_code == 0, result.output
    assert "never" in result.stdout
    # What was not seen is not said to be impossible, and nothing is decided.
    asked = ("outcomes", "litmus-hole", "--patch", "v3", "--strategy", "random", "--max-schedules", "1")
    cut = run(*asked, "--json")
    assert cut.exit_code == 2, cut.output
    verdicts = {each["verdict"] for each in json.loads(cut.stdout)["v3"]["conditions"]}
    assert verdicts <= {"not seen", "no exception seen"}


def test_counts_of_conditions_go_as_far_as_these_ask(tmp_path: Path) -> None:
    path = tmp_path / "ten.toml"
    text = SCENARIO.partition("[[task]]")[0].replace("pages = 2", "pages = 10")
    text += '[[task]]\nname = "one"\nops = [{ op = "allocate" }]\n'
    path.write_text(text + "[[condition]]\nname = 'all'\ntest = 'page_cache_add == 10'\n")
    found = document("outcomes", str(path), "--patch", "v3", "--observe", "free_page")
    assert [each["verdict"] for each in found["v3"]["conditions"]] == ["always"]
    path.write_text(text)
    result = run("outcomes", str(path), "--patch", "v3", "--observe", "page_cache_add")
    assert "Counts stop at 8, and may have been more: page_cache_add." in result.stdout
    assert "Counts stop" not in run("outcomes", str(path), "--patch", "v3", "--observe", "cache").stdout
    asked = ("litmus", str(path), "--patch", "v3", "--observe")
    assert "Counts stop at 8, and may have been more: page_cache_add." in run(*asked, "page_cache_add").stdout
    assert "Counts stop" not in run(*asked, "cache").stdout


def test_replay_writes_the_log(deadlock: str, tmp_path: Path) -> None:
    token = document("explore", deadlock)["violation"]["replay"]
    held = tmp_path / "token"
    held.write_text(token)
    log = tmp_path / "run.jsonl"
    assert run("replay", f"@{held}", "--log", str(log)).exit_code == 1
    assert len(list(read_log(log))) > 10


def test_replay_of_another_patch_says_where_it_diverged(deadlock: str, tmp_path: Path) -> None:
    token = document("explore", deadlock)["violation"]["replay"]
    mine = tmp_path / "mine.py"
    mine.write_text(PATCH)
    result = run("replay", token, "--patch", f"{mine}:Mine")
    assert result.exit_code == 2
    assert "diverged at draw" in result.stderr
    followed = run("replay", token, "--patch", f"{mine}:Mine", "--follow")
    assert followed.exit_code == 0, followed.output
    page = tmp_path / "page.html"
    told = run("replay", token, "--patch", f"{mine}:Mine", "--follow", "--html", str(page))
    assert (told.exit_code, page.exists()) == (0, False)
    assert "page.html: not written, nothing was found" in told.stderr


def test_a_replay_that_fails_in_another_way(deadlock: str, tmp_path: Path) -> None:
    """The exit code is 1 as well; that it is another failure is said."""
    token = document("explore", deadlock)["violation"]["replay"]
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3):\n"
        "    async def memory_failure(self, t, inode, index):\n        raise KeyError(index)\n"
    )
    result = run("replay", token, "--patch", f"{mine}:Mine", "--follow")
    assert result.exit_code == 1
    assert "Replayed: not what the token recorded" in result.stdout


@pytest.mark.parametrize("token", ["", "gm1:", "gm1:AAAA", "hello", "@/no/such/file"])
def test_bad_tokens(token: str) -> None:
    result = run("replay", token)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


#: Leaves a mark for every punch: a test knows by it that a search is on its way, however busy the machine is.
COUNTING = """
from gmemsim.patches.v3 import V3


class Counting(V3):
    async def kvm_gmem_punch_hole(self, t, inode, start, end):
        with open({mark!r}, "a") as file:
            file.write("x")
        return await super().kvm_gmem_punch_hole(t, inode, start, end)
"""


def start(fine: str, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """A search that does not end by itself, on its way."""
    mark = folder / "mark"
    patch = folder / "mine.py"
    patch.write_text(COUNTING.format(mark=str(mark)))
    command = [sys.executable, "-m", "gmemsim", "explore", fine, "--patch", f"{patch}:Counting", "--json"]
    command += ["--strategy", "random", "--max-schedules", "10000000", *more]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    end = time.monotonic() + 100
    while child.poll() is None and (not mark.exists() or mark.stat().st_size < 100):
        assert time.monotonic() < end
        time.sleep(0.05)
    return child


def test_interrupt_reports_what_there_is(fine: str, tmp_path: Path) -> None:
    with start(fine, tmp_path) as child:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=100)
    assert child.returncode == 130, err
    found = json.loads(out)
    assert found["stopped"] == "interrupted"
    assert found["schedules"] > 0
    assert found["never_ran"] == []


@pytest.mark.parametrize("signals", [1, 3])
def test_interrupt_with_processes_keeps_what_was_done(fine: str, signals: int, tmp_path: Path) -> None:
    """To the whole group, as a terminal sends it; more than once, as people do."""
    with start(fine, tmp_path, "--jobs", "2") as child:
        for _ in range(signals):
            os.killpg(child.pid, signal.SIGINT)
            time.sleep(0.01)
        out, err = child.communicate(timeout=100)
    assert child.returncode == 130, err
    assert not err
    found = json.loads(out)
    assert found["stopped"] == "interrupted"
    assert found["schedules"] > 0


def test_no_page_without_a_violation(fine: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run("explore", fine, "--max-schedules", "2", "--html", str(page))
    assert result.exit_code == 0
    assert "not written, nothing was found" in result.stderr
    assert not page.exists()


def test_nan_is_no_limit(fine: str) -> None:
    result = run("explore", fine, "--max-seconds", "nan")
    assert result.exit_code == 2
    assert "no number of seconds" in result.stderr
