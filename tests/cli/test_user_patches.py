"""Whatever a user's patch raises is a failure with the user's file and line, in every command, by relative path too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.studies.litmus import Answer, Litmus, run_litmus

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

HEAD = "from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3):\n"
RAISES = HEAD + "    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):\n        raise {what}\n"
#: What ends a process, a loop or a coroutine elsewhere, and an ordinary exception.
WHATS = [
    *("SystemExit(0)", "GeneratorExit", "KeyboardInterrupt", "BaseException(1)"),
    *("ValueError('boom')", "StopIteration"),
]
NO_AWAIT = (
    HEAD
    + "    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):\n"
    + "        self.kvm_gmem_clear_folio(t, inode, folio, 1)\n"
    + "        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)\n"
)
NO_EFFECT = (
    HEAD
    + "    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):\n"
    + "        if not gfn:\n            await self.clear(t)\n"
    + "        {calls}\n"
    + "        return await super().kvm_gmem_get_pfn(t, vm, slot, gfn)\n\n"
    + "    async def clear(self, t):\n        pass\n"
)
TWO_FAULTS = """\
[scenario]
name = "two"
summary = "Two faults of one page"
question = "Who is first?"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x10000

[[task]]
role = "vcpu"
instances = 2
ops = [{ op = "touch" }]
"""
#: Arguments of each command that runs a patch, and its exit code: 1 where a failure is what it looks for.
COMMANDS = {
    "explore": (["explore", "same", "--max-schedules", "3", "--patch", "mine.py:Mine"], 1),
    "outcomes": (["outcomes", "same", "--max-schedules", "3", "--patch", "mine.py:Mine"], 1),
    "stress": (
        [
            *("stress", "same", "--arch", "snp", "--seeds", "1", "--schedules", "3"),
            *("--patch", "mine.py:Mine"),
        ],
        1,
    ),
    "litmus": (["litmus", "first_fault", "--patch", "mine.py:Mine"], 1),
    "run": (["run", "same", "--small", "--patch", "mine.py:Mine"], 2),
    "diff": (["diff", "v3", "mine.py:Mine", "--scenario", "same"], 2),
    "bench": (["bench", "contention", "--vcpus", "1", "--pages", "4", "--patch", "mine.py:Mine"], 2),
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", WHATS)
def test_what_a_patch_raises(command: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RAISES.format(what=what))
    arguments, code = COMMANDS[command]
    result = run(*arguments)
    assert result.exit_code == code, result.output
    said = " ".join((result.stdout + result.stderr).split())
    assert "mine.py:6" in said
    if what != "StopIteration":  # Python makes a RuntimeError of it
        assert what.partition("(")[0] in said
    if code == 2:
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_an_exit_of_click_s_is_no_answer(command: str, tmp_path: Path) -> None:
    text = RAISES.format(what="click.exceptions.Exit(0)").replace("raise", "import click; raise")
    (tmp_path / "mine.py").write_text(text)
    result = run(*COMMANDS[command][0])
    assert result.exit_code == COMMANDS[command][1], result.output
    assert "mine.py:6" in " ".join((result.stdout + result.stderr).split())


@pytest.mark.parametrize("command", ["explore", "outcomes", "litmus"])
def test_a_patch_that_never_comes_back_is_not_clean(command: str, tmp_path: Path) -> None:
    text = RAISES.format(what="").replace("        raise", "        while True:\n            pass")
    (tmp_path / "mine.py").write_text(text)
    # On a busy machine the time may be over before the patch is reached.
    said = ""
    for seconds in ("1", "2", "4", "8", "16", "32"):
        result = run(*COMMANDS[command][0], "--max-seconds", seconds)
        assert result.exit_code == 2, result.output
        said = result.stdout
        assert "No violation" not in said
        if command != "explore" or "your patch had not come back: mine.py:" in said:
            return
    pytest.fail(said)


def test_a_litmus_test_that_is_cut_short_is_undecided() -> None:
    result = run("litmus", "first_fault", "--patch", "v3", "--max-states", "3", "--json")
    found = json.loads(result.stdout)["litmus-first_fault"]["v3"]
    assert not found["complete"]
    assert result.exit_code == 2


def test_an_interrupted_litmus_test_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*arguments: Any, **options: Any) -> Litmus:
        done = run_litmus(*arguments, **options)
        return attrs.evolve(done, search=attrs.evolve(done.search, stopped="interrupted"))

    monkeypatch.setattr("gmemsim.studies.litmus.run_litmus", cut)
    result = run("litmus", "first_fault", "--json")
    assert result.exit_code == 130
    assert list(json.loads(result.stdout)["litmus-first_fault"]) == ["baseline"]


@pytest.mark.parametrize(
    ("expected", "verdict", "meets", "breaks", "wrong"),
    [
        ("never", "not seen", "", "t", False),
        ("sometimes", "not seen", "", "t", False),
        ("always", "not seen", "", "t", True),
        ("never", "no exception seen", "t", "", True),
        ("always", "no exception seen", "t", "", False),
        ("always", "not seen", "", "", False),
        ("always", "sometimes", "t", "t", True),
        ("", "never", "", "t", False),
    ],
)
def test_what_a_search_that_was_cut_short_contradicts(
    expected: str, verdict: str, meets: str, breaks: str, wrong: bool
) -> None:
    assert Answer("", "", verdict, expected, meets, breaks).contradicts is wrong


@pytest.mark.parametrize("command", COMMANDS)
def test_a_coroutine_that_nobody_awaits(command: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NO_AWAIT)
    arguments, code = COMMANDS[command]
    result = run(*arguments)
    assert (result.exit_code, "mine.py:6" in result.output + result.stderr) == (code, True), result.output
    assert "without await" in " ".join((result.stdout + result.stderr).split())


@pytest.mark.parametrize("strategy", ["stateful", "dpor", "random"])
def test_a_run_ends_with_the_step_that_calls_without_await(strategy: str, tmp_path: Path) -> None:
    """As if it were raised there: a search looks at nothing that follows it, and needs no run from the beginning."""
    (tmp_path / "two.toml").write_text(TWO_FAULTS)
    found = []
    for calls in ("self.clear(t)", "raise ValueError"):
        (tmp_path / "mine.py").write_text(NO_EFFECT.format(calls=calls))
        asked = ("two.toml", "--patch", "mine.py:Mine", "--strategy", strategy, "--max-schedules", "20")
        done = json.loads(run("outcomes", *asked, "--json").stdout)["mine.py:Mine"]
        (outcome,) = done["outcomes"]
        assert outcome["outcome"].startswith("crash ")
        found.append((done["complete"], done["states"], done["schedules"], outcome["count"]))
    assert found[0] == found[1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("text", ["import sys\nsys.exit(0)\n", "raise GeneratorExit\n", "1 / 0\n"])
def test_what_a_file_raises_when_it_is_read(command: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    result = run(*COMMANDS[command][0])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "mine.py:" in result.stderr


def test_the_report_shows_where_and_how_to_replay(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RAISES.format(what="ValueError('boom')"))
    text = run(*COMMANDS["explore"][0]).stdout
    assert "Raised in your file" in text
    assert "raise ValueError('boom')" in text
    assert "Your code raised an exception at mine.py:6, kvm_gmem_get_pfn" in " ".join(text.split())
    assert "--patch mine.py:Mine" in text
    document = json.loads(run(*COMMANDS["explore"][0], "--json").stdout)
    report = document["violation"]["report"]
    assert "mine.py:6, kvm_gmem_get_pfn" in document["violation"]["summary"]
    assert any("mine.py" in line for line in report["traceback"])
    assert report["command"].endswith(" --patch mine.py:Mine")


def test_a_token_runs_no_file_that_the_command_line_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RAISES.format(what="ValueError('boom')"))
    token = json.loads(run(*COMMANDS["explore"][0], "--json").stdout)["violation"]["replay"]
    mark = tmp_path / "was.run"
    (tmp_path / "mine.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n" + RAISES.format(what="ValueError('boom')")
    )
    refused = run("replay", token)
    assert refused.exit_code == 2
    assert "runs only if you name it: --patch mine.py:Mine" in refused.stderr
    assert not mark.exists()
    again = run("replay", token, "--patch", "mine.py:Mine")
    assert again.exit_code == 1
    assert mark.exists()
    assert "its sources, or the model's, are others" in again.stdout
