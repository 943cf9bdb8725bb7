"""`gmemsim conform`: exit codes, what a user's patch raises, Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.conform import command
from gmemsim.scenarios.conform import suite

GOOD: dict[str, Any] = {
    "id": "good",
    "evidence": "derived",
    "applies_to": {"versions": ["v3"], "vm_types": ["default", "snp"]},
    "setup": {"gmems": [{"id": "g", "size": 4096}]},
    "steps": [
        {
            "actor": "host",
            "op": "fallocate",
            "args": {"gmem": "g", "offset": 0, "len": 4096, "mode": ["KEEP_SIZE"]},
            "expect": {"result": "ok"},
        }
    ],
}


def conform(path: Path, *documents: dict[str, Any], patch: str = "v3") -> Result:
    file = path / "v.jsonl"
    file.write_text("\n".join(map(json.dumps, documents)))
    return CliRunner().invoke(command, [str(file), "--patch", patch, "--json"])


def test_exit_codes(tmp_path: Path) -> None:
    """0: all that was judged passed; 1: one failed; 2: nothing could be judged."""
    wrong = {**GOOD, "id": "wrong", "steps": [{**GOOD["steps"][0], "expect": {"result": "EINVAL"}}]}
    strange = {**GOOD, "id": "strange", "setup": {"weather": 1}}
    assert conform(tmp_path, GOOD).exit_code == 0
    assert conform(tmp_path, GOOD, strange).exit_code == 0
    assert conform(tmp_path, GOOD, strange, wrong).exit_code == 1
    alone = conform(tmp_path, strange)
    assert alone.exit_code == 2
    assert "nothing was judged" in alone.stderr
    assert conform(tmp_path, {**GOOD, "steps": 3}).exit_code == 2


@pytest.mark.parametrize(
    "raised", ["SystemExit(0)", "GeneratorExit", "ValueError('no')", "KeyboardInterrupt"]
)
def test_what_a_patch_raises_is_no_success(tmp_path: Path, raised: str) -> None:
    """It names the user's file and line, and keeps what was judged before."""
    patch = tmp_path / "mine.py"
    patch.write_text(
        "from gmemsim.patches.v3 import V3\n\n\n"
        "class Mine(V3):\n"
        "    async def kvm_gmem_allocate(self, t, inode, start, end):\n"
        f"        raise {raised}\n"
    )
    create = {
        "actor": "host",
        "op": "stat",
        "args": {"gmem": "g"},
        "expect": {"result": "value", "st_size": 4096},
    }
    first = {**GOOD, "id": "first", "steps": [create]}
    result = conform(tmp_path, first, GOOD, patch=f"{patch}:Mine")
    assert result.exit_code == 2
    assert f"{patch}:6: {raised.partition('(')[0]}" in result.stderr
    document = json.loads(result.stdout)
    assert (document["passed"], document["not_judged"]) == (2, 2)


def test_ctrl_c_shows_what_was_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = suite.judge
    calls = iter(range(9))

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return judged(*args, **options)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(suite, "judge", interrupted)
    try:
        result = conform(tmp_path, GOOD)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert json.loads(result.stdout)["not_judged"] == 1
