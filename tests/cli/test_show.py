"""`gmemsim show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.cli.show import command
from gmemsim.patches.call_graph import _reached
from gmemsim.patches.v3 import V3

MINE = '''
from gmemsim.patches.v3 import V3


class Mine(V3):
    def populate_fetches(self, source):
        """Always."""
        return True
'''


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_against_the_predecessor() -> None:
    lines = shown("v3").splitlines()
    assert lines[0] == "v3 against v2: 1 changed, 1 value"
    assert any(line.startswith("  + V3.populate_fetches gmemsim/patches/v3.py:") for line in lines)


def test_an_override_that_nothing_calls_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "never called" not in shown("v3")
    monkeypatch.setattr(V3, "kvm_gmem_forgotten", lambda self: 0, raising=False)
    _reached.cache_clear()
    try:
        assert "never called: " in shown("v3")
        assert len(json.loads(shown("v3", "--json"))["never_called"]) == 1
    finally:
        monkeypatch.undo()
        _reached.cache_clear()


def test_values() -> None:
    assert "uptodate_means" in shown("v1").partition("\nvalues\n")[2]


def test_source() -> None:
    text = shown("v3", "--source")
    assert "+        return source is not None" in text


def test_a_patch_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    document = json.loads(shown(f"{path}:Mine", "--json"))
    (row,) = document["functions"]
    assert (row["name"], row["kind"]) == ("populate_fetches", "changed")
    assert row["after"] == [
        {"file": str(path), "function": "Mine.populate_fetches", "line": 6, "says": "Always."}
    ]


def test_all() -> None:
    text = shown("baseline")
    assert text.startswith("baseline: ")
    assert "Baseline.kvm_gmem_get_pfn" in text
    assert shown("v3", "--all").startswith("v3: ")


@pytest.mark.parametrize("arguments", [("v33",), ("v3", "--against", "nope")])
def test_unknown(arguments: tuple[str, ...]) -> None:
    from gmemsim.cli.errors import InputError

    with pytest.raises(InputError):
        CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)
