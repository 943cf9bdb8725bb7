"""Patches that might be called fine although nothing looked: kept coroutines, wrong results, no end, lasting state."""

from __future__ import annotations

import gc
import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import gmemsim
from gmemsim.cli.group import cli
from gmemsim.engine import interrupts
from gmemsim.engine.unawaited import forever_kept
from gmemsim.patches import user_file
from gmemsim.patches.fitting import errnos_of
from gmemsim.patches.registry import PatchError, load_patch

if TYPE_CHECKING:
    from click.testing import Result

HEAD = "from gmemsim.patches.v3 import V3\n\nKEPT = []\n\n\nclass Mine(V3):\n"
GET_PFN = "    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):\n"
READY = "    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):\n"
SIDE = "\n    async def side(self, t):\n        pass\n"
BASE = "        return await super().kvm_gmem_get_pfn(t, vm, slot, gfn)\n"
#: Line 8 makes a coroutine that never runs: held by the kernel, by a module, by an event.
KEPT = {
    "by the kernel": "        self.kept = self.side(t)\n",
    "by a module": "        KEPT.append(self.side(t))\n",
    "by an event": "        t.rec and t.rec(t, __import__('gmemsim').audit.kvm_events.GetPfn(self.side(t), 1, 2))\n",
}


def run(*arguments: str) -> Result:
    forever_kept()  # what an earlier test left behind would be blamed on this one; a command is a process of its own
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def explore(strategy: str, *more: str) -> Result:
    options = ("--max-schedules", "20", "--no-shrink", "--strategy", strategy, "--json", *more)
    return run("explore", "same", "--patch", "mine.py:Mine", *options)


@pytest.mark.parametrize("strategy", ["stateful", "dpor", "random"])
@pytest.mark.parametrize("where", KEPT)
def test_a_coroutine_that_is_kept_and_never_runs(where: str, strategy: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + GET_PFN + KEPT[where] + BASE + SIDE)
    result = explore(strategy)
    if where == "by a module":
        assert (result.exit_code, "mine.py: KEPT was changed by a run" in result.stderr) == (2, True)
    else:
        assert result.exit_code == 1, result.output
        violation = json.loads(result.stdout)["violation"]
        assert violation["rule"] == "crash"
        assert "mine.py:8, kvm_gmem_get_pfn: Mine.side is called without await" in violation["summary"]
    assert run("run", "same", "--small", "--patch", "mine.py:Mine").exit_code == 2


QUEUED = """\
    async def kvm_gmem_clear_folio(self, t, inode, folio, pages):
        self.__dict__.setdefault("queue", []).append(super().kvm_gmem_clear_folio(t, inode, folio, pages))

    async def kvm_gmem_mark_uptodate(self, t, inode, folio):
        await super().kvm_gmem_mark_uptodate(t, inode, folio)
        while self.queue:
            await self.queue.pop()
"""


@pytest.mark.parametrize("strategy", ["stateful", "dpor", "random"])
def test_a_coroutine_that_is_awaited_later_is_no_error_of_its_own(strategy: str, tmp_path: Path) -> None:
    """What is wrong is found: the page is marked before it is cleared."""
    (tmp_path / "mine.py").write_text(HEAD + QUEUED)
    result = explore(strategy)
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["violation"]["rule"] == "I4"


RESULTS = {
    (GET_PFN, "0"): "returned 0; expected tuple[int, Folio | None]",
    (GET_PFN, "0, 7"): "returned (0, 7)",
    (READY, "'ok'"): "returned 'ok'; expected int",
    (READY, "None"): "returned nothing; expected int",
    (READY, "-9999"): "which is no errno",
    (GET_PFN, "5, None"): "returned 5; expected 0 or a negative errno, as ",
    (READY, "5"): "returned 5; expected 0 or a negative errno, as ",
}


@pytest.mark.parametrize(("function", "value"), RESULTS)
def test_a_result_that_does_not_fit(function: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{HEAD}{function}        return {value}\n")
    result = explore("random")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)["violation"]["summary"]
    assert "mine.py:8, kvm_gmem_" in summary
    assert RESULTS[function, value] in summary
    once = run("run", "same", "--small", "--patch", "mine.py:Mine")
    assert (once.exit_code, once.stderr.count("\n"), "mine.py:8" in once.stderr) == (2, 1, True)


@pytest.mark.parametrize("threshold", [20, 100])
def test_a_kept_coroutine_is_found_whenever_the_collector_comes(threshold: int, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + GET_PFN + KEPT["by the kernel"] + BASE + SIDE)
    before = gc.get_threshold()
    gc.set_threshold(threshold, 2, 2)
    try:
        assert explore("dpor").exit_code == 1
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "    def __init__(self, *a):\n        super().__init__(*a)\n"
            "        self.kvm_gmem_get_pfn = super().kvm_gmem_get_pfn\n",
            "kvm_gmem_get_pfn: is set on the kernel",
        ),
        (
            "    async def kvm_gmem_get_folio(self, t, inode, index):\n"
            "        self.kvm_gmem_prepare_folio = super().kvm_gmem_prepare_folio\n"
            "        return await super().kvm_gmem_get_folio(t, inode, index)\n",
            "kvm_gmem_prepare_folio: is set on the kernel",
        ),
        (
            "    async def kvm_gmem_get_folio(self, t, inode, index):\n        t.traps = False\n"
            "        return await super().kvm_gmem_get_folio(t, inode, index)\n",
            "traps was set: it is the engine's",
        ),
        (
            "    async def kvm_gmem_get_folio(self, t, inode, index):\n        __import__('os')._exit(0)\n",
            "SystemExit: os._exit(0)",
        ),
        (
            "    async def kvm_gmem_get_folio(self, t, inode, index):\n        return 0\n",
            "returned 0; expected Folio | int, the number a negative errno",
        ),
    ],
)
def test_what_is_not_held_against_the_version(body: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + body)
    result = explore("random")
    assert result.exit_code in (1, 2)
    assert says in result.output


@pytest.mark.parametrize(
    ("number", "name"),
    [(-18, "EXDEV"), (-104, "ECONNRESET"), (-133, "EHWPOISON")],
)
def test_an_errno_that_no_version_returns_is_said(number: int, name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{HEAD}{READY}        return {number}\n")
    for command in ("run", "explore"):
        more = ("--small",) if command == "run" else ("--max-schedules", "3", "--strategy", "random")
        text = run(command, "same", "--patch", "mine.py:Mine", *more).stdout
        said = f"Your `kvm_gmem_make_ready` returned {name} ({number}), which it returns in no version."
        assert said in text


def test_errnos_that_a_version_returns_are_not_said(tmp_path: Path) -> None:
    assert errnos_of("kvm_gmem_get_pfn") >= {-14, -133}
    assert -18 not in errnos_of("kvm_gmem_get_pfn")
    (tmp_path / "mine.py").write_text(f"{HEAD}{READY}        return -5\n")
    document = json.loads(explore("random").stdout)
    assert document["errnos"] == []


def test_a_poisoned_page_is_an_answer(tmp_path: Path) -> None:
    """-EHWPOISON, which Python has no name for."""
    (tmp_path / "mine.py").write_text(f"{HEAD}{GET_PFN}        return -133, None\n")
    document = json.loads(explore("random").stdout)
    assert (document["violation"], document["errnos"]) == (None, [])


def test_a_file_whose_code_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_file, "_READING", 0.2)
    (tmp_path / "mine.py").write_text(HEAD + "    pass\n\n\nwhile True:\n    pass\n")
    result = run("explore", "same", "--patch", "mine.py:Mine")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "mine.py:1" in result.stderr
    assert "was not read in 0.2 s" in result.stderr


def _for_ever() -> None:
    while True:
        pass


def test_deadlines_within_each_other() -> None:
    with pytest.raises(interrupts.TimeUp) as outer, interrupts.deadline(0.05), interrupts.deadline(60):
        _for_ever()
    assert outer.value.seconds == 0.05
    with interrupts.deadline(60), pytest.raises(interrupts.TimeUp), interrupts.deadline(0.05):
        _for_ever()


@pytest.mark.parametrize("function", [GET_PFN + "        while True:\n            pass\n"])
def test_a_patch_that_does_not_come_back(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gmemsim.scenarios.session.steps_end", lambda engine: interrupts.steps_end(engine, 0.1)
    )
    (tmp_path / "mine.py").write_text(HEAD + function)
    result = run("run", "same", "--small", "--patch", "mine.py:Mine")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "mine.py:8" in result.stderr or "mine.py:9" in result.stderr
    found = json.loads(explore("random").stdout)["violation"]
    assert "does not come back" in found["summary"]


def test_a_run_that_only_sleeps_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmemsim.scenarios.watchdog._PUT_OFF", 10_000)
    (tmp_path / "mine.py").write_text(HEAD + GET_PFN + "        while True:\n            await t.sleep(10)\n")
    result = run("run", "same", "--small", "--patch", "mine.py:Mine")
    assert result.exit_code == 1
    assert "livelock: vcpu0" in result.stdout


LASTING = {
    "mine.py: KEPT": READY + "        KEPT.append(gfn)\n",
    "mine.py: Mine.count": "    count = 0\n\n" + READY + "        Mine.count += 1\n",
}


@pytest.mark.parametrize("says", LASTING)
def test_state_that_outlives_a_run(says: str, tmp_path: Path) -> None:
    base = "        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)\n"
    (tmp_path / "mine.py").write_text(HEAD + LASTING[says] + base)
    result = explore("stateful")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{says} was changed by a run and outlives it" in result.stderr
    assert run("run", "same", "--small", "--patch", "mine.py:Mine").exit_code == 0


NAMES = {
    "    async def gmem_prepare(self, t, vm, folio, gfn):\n        return 0\n": "is set on each kernel by __init__",
    "    gmem_prepare = True\n": "is set on each kernel by __init__",
}
SET = "\n        async def mine(*a):\n            return 0\n\n        self.{name} = mine\n"
INIT = "    def __init__(self, *a, **k):\n        super().__init__(*a, **k)\n"


@pytest.mark.parametrize("body", NAMES)
def test_a_name_that_every_kernel_has_of_its_own(body: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + body)
    with pytest.raises(PatchError, match=NAMES[body]):
        load_patch("mine.py:Mine")


def test_a_function_that_init_sets_under_a_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + INIT + SET.format(name="kvm_gmem_make_redy"))
    result = explore("random")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "mine.py:7: Mine.kvm_gmem_make_redy: v3 has no function" in result.stderr
    (tmp_path / "mine.py").write_text(HEAD + INIT + SET.format(name="kvm_gmem_make_ready"))
    # A function of the instance runs without self, and `gmemsim show` does not know it: also refused.
    result = explore("random")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "kvm_gmem_make_ready" in result.stderr


def test_a_function_that_a_decorator_sets_under_a_wrong_name(tmp_path: Path) -> None:
    text = "def set_it(cls):\n    cls.kvm_gmem_make_redy = lambda self, *a: 0\n    return cls\n\n\n"
    text += HEAD.replace("class Mine", "@set_it\nclass Mine") + "    pass\n"
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(PatchError, match="did you mean kvm_gmem_make_ready"):
        load_patch("mine.py:Mine")


@pytest.mark.parametrize(
    "arguments",
    [
        ("litmus", "first_fault", "--patch", "mine.py:Mine"),
        ("bench", "contention", "--vcpus", "1", "--pages", "4", "--patch", "mine.py:Mine"),
        ("diff", "v3", "mine.py:Mine", "--scenario", "same"),
    ],
)
def test_what_never_ran_is_said(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD + "    async def kvm_gmem_error_folio(self, t, inode, folio):\n        pass\n"
    )
    result = run(*arguments)
    assert result.exit_code in (0, 2)
    assert "Your `kvm_gmem_error_folio` never ran in " in result.stderr


#: What no file of the user's holds: a file on disk that a run writes and the next one reads.
ON_DISK = """\
    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):
        with open("kept.txt", "a+") as file:
            file.write("x")
            if file.tell() > 5:
                return -11, None
        return await super().kvm_gmem_get_pfn(t, vm, slot, gfn)
"""


def test_a_search_of_runs_that_are_not_alike_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + ON_DISK)
    result = explore("random")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "a run with the same choices came to something else" in result.stderr
    (tmp_path / "kept.txt").unlink()
    options = ("--seeds", "1", "--schedules", "5", "--arch", "sw-protected")
    result = run("stress", "same", "--patch", "mine.py:Mine", *options)
    assert (result.exit_code, "came to something else" in result.stderr) == (2, True)


def test_an_assert_holds_under_optimization(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{HEAD}{READY}        assert gfn < 0, 'not so'\n        return 0\n")
    py_compile.compile("mine.py", optimize=1)  # Python would read that
    command = (sys.executable, "-O", "-m", "gmemsim", "run", "same", "--small", "--patch", "mine.py:Mine")
    environment = {**os.environ, "PYTHONPATH": str(Path(gmemsim.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, "AssertionError: not so" in done.stderr) == (2, True)
