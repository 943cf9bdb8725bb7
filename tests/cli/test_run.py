"""`gmemsim run` and `gmemsim list`: what they print, and their exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gmemsim.audit.reader import read_log
from gmemsim.cli.group import cli

SCENARIO = """\
[scenario]
name = "mine"
summary = "s"

[[file]]
id = "g"
pages = 4

[[slot]]
file = "g"

[[task]]
role = "vcpu"
ops = [{ op = "touch" }, { op = "punch", expect = "EINVAL" }]
"""

PATCH = """\
from gmemsim.patches.v3 import V3


class Mine(V3):
    async def kvm_gmem_prepare_folio(self, t, vm, folio, gfn):
        return BODY


class NoPatch:
    pass
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_human_output_has_everything_at_a_glance() -> None:
    result = run("run", "mmap_punch", "--set", "rounds=4", "--set", "host_rounds=4")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    for part in (
        "mmap_punch on v3",
        "seed 0",
        "faults fixed",
        "get_pfn",
        "hostf0…hostf1",
        "mmap_lock",
        "Not seen",
    ):
        assert part in result.stdout


def test_json_is_one_document_with_the_promised_keys() -> None:
    arguments = [
        "run",
        "same",
        "--patch",
        "baseline",
        "--arch",
        "sw-protected",
        "--seed",
        "5",
        "--vcpus",
        "2",
        "--json",
    ]
    result = run(*arguments)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["scenario"], document["patch"], document["arch"], document["seed"]) == (
        "same", "baseline", "sw-protected", 5,
    )  # fmt: skip
    assert document["parameters"]["vcpus"] == 2
    assert document["events"]["prepare"] == 64
    assert document["virtual_ns"] > 0
    row = document["locks"]["folio_lock"]["write"]
    assert set(row) == {"acquisitions", "contentions", "wait_total", "wait_max", "hold_total", "hold_max"}
    assert document["results"]["vcpu1"]["outcomes"] == {"touch": {"ok": 128}}
    assert document["violations"] == []
    assert run(*arguments).stdout == result.stdout
    assert run(*arguments, "--runtime", "trio").stdout == result.stdout
    assert run(*arguments[:-1], "--seed", "6", "--json").stdout != result.stdout


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_both_runtimes_write_the_same_log(tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / f"{runtime}{suffix}" for runtime in ("bare", "trio")]
    for file in files:
        done = run("run", "punch", "--small", "--log", str(file), "--runtime", file.name.partition(".")[0])
        assert done.exit_code == 0, done.output
    assert files[0].read_bytes() == files[1].read_bytes()
    log = read_log(files[0])
    assert log.header.scenario == "punch"
    assert log.header.more["parameter.pages"] == 1
    records = list(log)
    actors = [record.actor for record in records]
    assert actors[0] == "setup"
    assert actors.index("vcpu0") > max(position for position, actor in enumerate(actors) if actor == "setup")


def test_the_log_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    logs = []
    for seed in ("1", "2"):
        log = tmp_path / f"{seed}.jsonl"
        command = [sys.executable, "-m", "gmemsim", "run", "populate_mmap_lock", "--log", str(log)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed})
        logs.append(log.read_bytes())
    assert logs[0] == logs[1]


def test_a_violation_is_exit_code_1_and_the_log_is_kept(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.toml"
    scenario.write_text(SCENARIO)
    log = tmp_path / "x.jsonl"
    result = run("run", str(scenario), "--log", str(log))
    assert result.exit_code == 1
    assert "unexpected_outcome: vcpu0 call 2: punch came to ok, expected EINVAL" in result.stdout
    assert result.stderr == ""
    assert list(read_log(log))
    document = json.loads(run("run", str(scenario), "--json").stdout)
    assert [violation["rule"] for violation in document["violations"]] == ["unexpected_outcome"]


def test_a_run_that_does_not_end_is_a_violation() -> None:
    result = run("run", "same", "--limit", "2us")
    assert result.exit_code == 1
    assert "time_limit: no end after 0.002 ms of virtual time" in result.stdout


def test_the_oracles_look_on_unless_told_not_to(tmp_path: Path) -> None:
    patch = tmp_path / "leak.py"
    # A version that forgets to clear: stale host data become readable.
    patch.write_text(
        "from gmemsim.patches.v3 import V3\n\n\nclass Leak(V3):\n"
        "    async def kvm_gmem_clear_folio(self, t, inode, folio, pages):\n        pass\n"
    )
    result = run("run", "same", "--small", "--patch", f"{patch}:Leak")
    assert result.exit_code == 1
    assert "stale" in result.stdout
    assert run("run", "same", "--small", "--patch", f"{patch}:Leak", "--no-check").exit_code == 0


BAD = [
    (["run"], "SCENARIO"),
    (["run", "punhc"], "did you mean punch"),
    (["run", "no/such.toml"], "no/such.toml: cannot read it"),
    (["run", "same", "--patch", "v9"], "expected one of: baseline"),
    (["run", "same", "--patch", "x.py:Y"], "x.py: no such file"),
    (["run", "same", "--arch", "sev"], "expected one of: default"),
    (["run", "launch", "--arch", "default"], "makes no sense for VM type default"),
    (
        ["run", "mmap_h1", "--patch", "baseline", "--release", "6.12"],
        "KVM_CREATE_GUEST_MEMFD returned EINVAL",
    ),
    (["run", "same", "--release", "5.4"], "expected one of: 6.12"),
    (["run", "same", "--seed", "x"], "'x' is not a valid integer"),
    (["run", "same", "--vcpus", "-1"], "--vcpus"),
    (["run", "hole", "--vcpus", "2"], "no parameter vcpus"),
    (["run", "same", "--set", "pages"], "expected NAME=VALUE"),
    (["run", "same", "--set", "pages=many"], "expected a number"),
    (["run", "same", "--set", "pages=0"], "file[0].pages: expected int >= 1, got 0"),
    (["run", "same", "--set", "page=1"], "has no parameter page"),
    (["run", "same", "--runtime", "asyncio"], "--runtime asyncio: expected one of: trio, bare"),
    (["run", "same", "--lock", "fair"], "no lock policy 'fair'"),
    (["run", "same", "--limit", "soon"], "expected a time"),
    (["run", "same", "--log", "x.txt"], "ends in .jsonl"),
    (["run", "same", "--log", "no/such/x.jsonl"], "no such directory"),
    (["run", "same", "extra"], "unexpected extra argument"),
    (["run", "same", "--fast"], "--fast"),
    (["run", "same", "--arch", "SNP"], "did you mean snp?"),
    (["run", "same", "--patch", "mainlin-7.3"], "did you mean mainline-7.3?"),
    (["rnu"], "did you mean run?"),
    (["--verbose"], "--verbose"),
    (["list"], "Missing argument"),
    (["list", "kernels"], "expected one of: patches, "),
]


@pytest.mark.parametrize(
    ("arguments", "part"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_usage_is_one_line_and_nothing_written(
    arguments: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("gmemsim")
    assert result.stderr.count("\n") == 1
    assert part in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "name", "code", "part"),
    [
        ("0", "Mine", 0, "same on Mine"),
        ("0", "Yours", 2, "no class Yours"),
        ("0", "NoPatch", 2, "no patch"),
        ("1 / 0", "Mine", 2, "mine.py:6: ZeroDivisionError"),
        ("(", "Mine", 2, "mine.py:6: SyntaxError"),
        ("-22", "Mine", 0, "EINVAL"),
    ],
)
def test_a_patch_of_ones_own(tmp_path: Path, body: str, name: str, code: int, part: str) -> None:
    patch = tmp_path / "mine.py"
    patch.write_text(PATCH.replace("BODY", body))
    result = run("run", "same", "--patch", f"{patch}:{name}", "--set", "pages=4", "--no-check")
    assert result.exit_code == code, result.output
    assert part in (result.stderr if code else result.stdout)
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == (1 if code else 0)


@pytest.mark.parametrize("runtime", ["bare", "trio"])
def test_ctrl_c_ends_it_cleanly(tmp_path: Path, runtime: str) -> None:
    command = [sys.executable, "-m", "gmemsim", "run", "punch", "--set", "rounds=1000000", "--limit", "9999s"]
    command += ["--log", str(tmp_path / "x.jsonl"), "--runtime", runtime]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    try:
        # Once events are written the run is under way.
        while process.poll() is None and not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted: this is what the run came to so far" in stdout
    assert stderr == "gmemsim: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m gmemsim list events | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        # Without it a child also has the COLUMNS that readline, which pytest imports, puts beside `os.environ`.
        env=dict(os.environ),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("name")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("patches", "v3"), ("arches", "snp"), ("scenarios", "punch"), ("locks", "rwsem"), ("events", "get_pfn")],
)
def test_list(kind: str, name: str) -> None:
    text = run("list", kind)
    assert text.exit_code == 0
    assert name in text.stdout
    rows = json.loads(run("list", kind, "--json").stdout)
    assert name in {row["name"] for row in rows}
    assert all(all(str(value) for value in row.values()) for row in rows if kind != "events")


def test_no_colour_codes_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gmemsim", "run", "hole"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
