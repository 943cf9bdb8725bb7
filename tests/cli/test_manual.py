"""The manual and the examples are those of the commands."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import click
import pytest
from click.testing import CliRunner

from gmemsim.cli.examples import EXAMPLES
from gmemsim.cli.group import cli
from gmemsim.cli.manual import entries, markdown, roff

ENTRIES = {entry.path.partition(" ")[2]: entry for entry in entries(cli)}


def test_every_command_has_an_example() -> None:
    # Those of a group are examples of its commands.
    assert {path for path in ENTRIES if " " not in path} <= set(EXAMPLES) <= set(ENTRIES)


@pytest.mark.parametrize("line", [line for examples in EXAMPLES.values() for line, _ in examples])
def test_every_example_is_one_that_the_command_takes(line: str) -> None:
    words = shlex.split(line)
    words = words[: min((words.index(end) for end in ("|", ">") if end in words), default=len(words))]
    ctx = click.Context(cli, info_name="gmemsim")
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        name, inner, words = command.resolve_command(ctx, words)
        assert inner is not None
        # Options and arguments are read here, and nothing runs.
        command, ctx = inner, inner.make_context(name, list(words), parent=ctx, resilient_parsing=False)
        words = [*ctx._protected_args, *ctx.args] if isinstance(command, click.Group) else []


@pytest.mark.parametrize("name", [path for path in ENTRIES if " " not in path])
def test_help_shows_the_examples(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    for line, _ in EXAMPLES[name]:
        assert f"gmemsim {line}" in result.stdout


def test_the_man_page_has_every_option() -> None:
    text = roff("gmemsim", "a model", list(ENTRIES.values()))
    for entry in ENTRIES.values():
        assert entry.path.replace("-", "\\-") in text
        for names, _ in entry.options:
            assert names.replace("-", "\\-") in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_groff_has_no_complaints() -> None:
    text = CliRunner().invoke(cli, ["man"]).stdout
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_markdown_has_a_heading_a_command() -> None:
    text = markdown(list(ENTRIES.values()))
    assert [line for line in text.splitlines() if line.startswith("## gmemsim explore")]
    assert "`[trio|bare]`" not in text, "a bar ends a cell"


def test_a_command_that_is_not_there() -> None:
    result = CliRunner().invoke(cli, ["man", "expolre"])
    assert result.exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_GMEMSIM_COMPLETE" in result.stdout
