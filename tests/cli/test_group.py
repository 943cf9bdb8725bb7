"""The group: commands come and go with their modules, and help imports none of them."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from gmemsim.cli import commands
from gmemsim.cli.group import cli

HEAVY = ("attrs", "msgspec", "rich", "structlog", "trio", "zstandard", "gmemsim.actors", "gmemsim.scenarios")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom gmemsim.cli import main\nsys.argv = ['gmemsim', '--help']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert done.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "run " in done.stdout


def test_help_without_a_command() -> None:
    plain = CliRunner().invoke(cli, [])
    assert plain.exit_code == 0
    assert plain.stdout == CliRunner().invoke(cli, ["-h"]).stdout
    assert "Usage: " in plain.stdout


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("gmemsim 0.")


def test_every_command_that_is_there_has_help() -> None:
    names = commands.available()
    assert names[0] == "run"
    assert "list" in names
    for name in names:
        result = CliRunner().invoke(cli, [name, "--help"])
        assert result.exit_code == 0, name
        assert "Usage: " in result.stdout


def test_a_command_appears_with_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.COMMANDS, "again", commands.Command("run", "Run it again."))
    monkeypatch.setitem(commands.COMMANDS, "later", commands.Command("no_such_module", "Not yet."))
    text = CliRunner().invoke(cli, ["--help"]).stdout
    assert "Run it again." in text
    assert "later" not in text
    assert CliRunner().invoke(cli, ["later"]).exit_code == 2
    assert CliRunner().invoke(cli, ["again", "hole", "--json"]).exit_code == 0


def test_the_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gmemsim", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("gmemsim ")
