"""Rules, operations and events of a user's own: the page about them is true; what could not be trusted is refused."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import gmemsim
from gmemsim.cli.group import cli
from gmemsim.explore.replay import replay
from gmemsim.explore.token_names import TokenError
from gmemsim.patches import user_file
from gmemsim.patches.registry import PatchError
from gmemsim.patches.user_file import class_in
from gmemsim.scenarios import own
from gmemsim.scenarios.ops import OPS
from gmemsim.testing import ScheduleFailure

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extend.md"
SEAL = "examples/seal.py"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the page is in the repository, not in the package")

HEAD = """
from gmemsim.audit.kvm_events import GetPfn, PageCacheAdd
from gmemsim.extend import *

class Mine(Oracle):
    rules = (Rule("mine", says="nothing", source="here"),)
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def token() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        text = run(
            *("explore", "examples/seal.toml", "--patch", f"{SEAL}:SealEarly", "--oracle", f"{SEAL}:Sealed"),
            "--json",
        ).stdout
    return str(json.loads(text)["violation"]["replay"])


def _commands() -> list[tuple[str, str]]:
    """What is typed, and what comes of it: `…` stands for anything."""
    found = []
    for block in re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL) if PAGE.exists() else []:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown.rstrip()))
    return found


@pytest.mark.usefixtures("at_root")
@pytest.mark.parametrize(("command", "shown"), _commands())
def test_the_page(command: str, shown: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Operations that a file has made known stay so in a process.
    monkeypatch.setattr(own, "_own", {})
    monkeypatch.delitem(OPS, "seal", raising=False)
    monkeypatch.setattr(user_file, "_modules", {})
    result = run(*shlex.split(command.replace("TOKEN", token))[1:])
    pieces = [re.escape(piece.strip()) for piece in re.split("…", shown)]
    assert re.search(".*".join(pieces), result.stdout + result.stderr, re.DOTALL), result.output


def test_the_page_shows_the_example() -> None:
    source = (ROOT / SEAL).read_text()
    lines = {line.strip() for line in source.splitlines()}
    shown = [
        line.strip()
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        for line in block.splitlines()
    ]
    joined = "".join(source.split())
    assert shown
    assert [line for line in shown if line not in lines and "".join(line.split()) not in joined] == []


@pytest.mark.usefixtures("at_root")
def test_in_python() -> None:
    oracle, _ = class_in(f"{SEAL}:Sealed", gmemsim.extend.Oracle, "no oracle", "")
    with pytest.raises(ScheduleFailure, match="sealed") as failed:
        gmemsim.check("examples/seal.toml", f"{SEAL}:SealEarly", oracles=[oracle])
    assert "--oracle" in str(failed.value)
    with pytest.raises(TokenError, match="--oracle"):
        replay(failed.value.token, patch=f"{SEAL}:SealEarly")
    again = replay(failed.value.token, patch=f"{SEAL}:SealEarly", oracles=[oracle])
    assert (again.same_failure, again.same_log, again.notes) == (True, True, ())
    found = gmemsim.explore("examples/seal.toml", f"{SEAL}:SealEarly", oracles=[oracle]).found
    assert [each.failure.rule for each in found] == ["sealed"]
    done = gmemsim.run("examples/seal.toml", f"{SEAL}:SealEarly", oracles=oracle, log=True)
    assert "SealPages" in {type(event).__name__ for _, event in done.log}


@pytest.mark.usefixtures("at_root")
def test_in_other_processes() -> None:
    seal = ("examples/seal.toml", "--patch", f"{SEAL}:SealEarly", "--oracle", f"{SEAL}:Sealed", "--jobs", "2")
    result = run("stress", *seal, "--arch", "default", "--seeds", "1", "--schedules", "40", "--json")
    assert [each["rule"] for each in json.loads(result.stdout)["violations"]] == ["sealed"]
    result = run("explore", *seal, "--strategy", "random", "--max-schedules", "100", "--json", "--no-shrink")
    assert json.loads(result.stdout)["violation"]["rule"] == "sealed"


@pytest.mark.usefixtures("at_root")
def test_a_log_with_events_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    run("run", "examples/seal.toml", "--patch", f"{SEAL}:SealEarly", "--log", str(log))
    result = run("diff", str(log), str(log), "--event", f"{SEAL}:SealPages")
    assert result.exit_code == 0
    assert run("diff", str(log), str(log), "--event", f"{SEAL}:Sealed").exit_code == 2


WRONG = {
    "async": ("    @after('mine', GetPfn)\n    async def look(self, t, e): pass", "nobody would await it"),
    "no check": ("    def look(self, t, e): pass", "nothing looks after rule mine"),
    "other rule": ("    @after('I33', GetPfn)\n    def look(self, t, e): pass", "none of its rules"),
    "no event": ("    @after('mine')\n    def look(self, t, e): pass", "at least one event"),
    "not an event": ("    @after('mine', int)\n    def look(self, t, e): pass", "classes of events"),
    "static": (
        "    @staticmethod\n    @after('mine', GetPfn)\n    def look(t, e): pass\n"
        "    @after('mine', GetPfn)\n    def see(self, t, e): pass",
        "would not run",
    ),
    "no rules": ("    rules = ()\n", "at least one"),
    "our name": ("    rules = (Rule('I33', says='x', source='y'),)\n", "gmemsim's own"),
    "number": ("    rules = (Rule('I99', says='x', source='y'),)\n", "gmemsim's own"),
    "bad name": ("    rules = (Rule('a,b', says='x', source='y'),)\n", "expected a letter"),
    "twice": ("    rules = (Rule('a', says='x', source='y'),) * 2\n", "one name"),
    "constructor": (
        "    def __init__(self): pass\n    @after('mine', GetPfn)\n    def look(self, t, e): pass",
        "making Mine",
    ),
    "raises": ("    @after('mine', GetPfn)\n    def look(self, t, e): 1 / 0", "mine.py:8: ZeroDivisionError"),
    "exits": (
        "    @after('mine', GetPfn)\n    def look(self, t, e): raise SystemExit(0)",
        "failed by itself",
    ),
    "other fail": (
        "    @after('mine', GetPfn)\n    def look(self, t, e): self.fail('I2', 'x', t, e)",
        "none of its rules",
    ),
    "module state": (
        "    seen = []\n    @after('mine', GetPfn)\n    def look(self, t, e): self.seen.append(e)",
        "outlives it",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_rule_that_could_not_be_trusted_is_no_answer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body, says = WRONG[name]
    Path("mine.py").write_text(HEAD + body + "\n")
    result = run(
        "explore", "same", "--oracle", "mine.py:Mine", "--strategy", "random", "--max-schedules", "5"
    )
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert says in result.stderr
    if name in ("raises", "exits"):
        for command in (("run", "same", "--small"), ("stress", "same", "--seeds", "1", "--arch", "snp")):
            result = run(*command, "--oracle", "mine.py:Mine")
            assert (result.exit_code, says in result.stderr) == (2, True), result.output


OPERATIONS = {
    "no run": (
        "@operation\nclass Probe(Op, frozen=True, kw_only=True):\n    pass",
        "expected an async function",
    ),
    "sync": (
        "@operation\nclass Probe(Op, frozen=True, kw_only=True):\n    def run(self, *a): pass",
        "expected an async function",
    ),
    "arguments": (
        "@operation\nclass Probe(Op, frozen=True, kw_only=True):\n    async def run(self, t): pass",
        "expected to be called with",
    ),
    "taken": (
        "@operation\nclass Punch(FileRange, frozen=True, kw_only=True):\n    async def run(self, *a): pass",
        "gmemsim's own",
    ),
    "no operation": ("@operation\nclass Probe: pass", "no operation; derive"),
    "not marked": (
        "class Probe(Op, frozen=True, kw_only=True):\n    async def run(self, *a): return Outcome('ok')",
        "not marked",
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_could_not_run_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body, says = OPERATIONS[name]
    Path("ops.py").write_text(f"from gmemsim.extend import *\n\n{body}\n")
    result = run("run", "same", "--small", "--operation", "ops.py:Probe")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert says in result.stderr


def test_keys_of_an_operation_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ops.py").write_text(
        "from gmemsim.extend import *\n\n@operation\nclass ProbeNow(Op, frozen=True, kw_only=True):\n"
        "    depth: int\n    async def run(self, thread, t, step, lo, hi):\n"
        "        return Outcome('ok' if self.depth else None)\n"
    )
    text = (
        '[scenario]\nname = "x"\nsummary = "x"\n[[file]]\nid = "f"\npages = 1\n'
        '[[task]]\nname = "a"\nops = [{ op = "probe_now"KEYS }]\n'
    )
    for keys, code, says in (
        (", depth = 1", 0, "probe_now"),
        ("", 2, "the key depth is missing"),
        (", depht = 1", 2, "did you mean depth?"),
        (", depth = 0", 2, "expected an Outcome"),
    ):
        Path("x.toml").write_text(text.replace("KEYS", keys))
        result = run("run", "x.toml", "--operation", "ops.py:ProbeNow")
        assert (result.exit_code, says in result.output) == (code, True), result.output


def test_an_operation_has_outcomes_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ops.py").write_text(
        "from gmemsim.extend import *\n\n@operation\nclass ProbeWhere(Op, frozen=True, kw_only=True):\n"
        "    async def run(self, thread, t, step, lo, hi):\n        return Outcome('half_way')\n"
    )
    text = (
        '[scenario]\nname = "x"\nsummary = "x"\n[[file]]\nid = "f"\npages = 1\n'
        '[[task]]\nname = "a"\nops = [{ op = "probe_where", expect = EXPECT }, { op = "punch", expect = PUNCH }]\n'
    )
    for expect, punch, code, says in (
        ('["half_way", "done"]', '"ok"', 0, "complete: "),
        ('"done"', '"ok"', 1, "unexpected_outcome"),
        ('"half_way"', '"half_way"', 2, "x.toml:9: task[0].ops[1].expect: no outcome 'half_way'"),
        ("[]", '"ok"', 2, "x.toml:9: task[0].ops[0].expect: expected an outcome or some of them"),
    ):
        Path("x.toml").write_text(text.replace("EXPECT", expect).replace("PUNCH", punch))
        result = run("explore", "x.toml", "--operation", "ops.py:ProbeWhere")
        assert (result.exit_code, says in result.output) == (code, True), result.output


def test_two_users_rules_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    look = "    @after('mine', GetPfn)\n    def look(self, t, e): pass\n"
    Path("mine.py").write_text(HEAD + look + HEAD.replace("Mine", "Other") + look)
    result = run("explore", "same", "--oracle", "mine.py:Mine", "--oracle", "mine.py:Other")
    assert (result.exit_code, "is one of Mine already" in result.stderr) == (2, True)
    with pytest.raises(PatchError, match="expected a class"):
        gmemsim.program("same", oracles=[int])
