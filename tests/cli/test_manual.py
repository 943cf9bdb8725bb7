"""The manual and the examples are those of the commands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gmemsim.cli.examples import EXAMPLES
from gmemsim.cli.group import cli
from gmemsim.cli.manual import entries, markdown, roff

ENTRIES = {entry.path.partition(" ")[2]: entry for entry in entries(cli)}


def test_every_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(ENTRIES)


def parse(line: str) -> None:
    """Read a command line as the command would; nothing runs."""
    words = shlex.split(line, comments=True)
    words = words[: min((words.index(end) for end in ("|", ">", "||") if end in words), default=len(words))]
    ctx = click.Context(cli, info_name="gmemsim")
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        name, inner, words = command.resolve_command(ctx, words)
        assert inner is not None
        try:
            command, ctx = inner, inner.make_context(name, list(words), parent=ctx, resilient_parsing=False)
        except click.BadParameter as error:
            # Files of somebody who follows the page.
            if "does not exist" in error.format_message():
                return
            raise
        words = [*ctx._protected_args, *ctx.args] if isinstance(command, click.Group) else []


@pytest.mark.parametrize("line", [line for examples in EXAMPLES.values() for line, _ in examples])
def test_every_example_is_one_that_the_command_takes(line: str) -> None:
    parse(line)


ROOT = Path(__file__).parents[2]
PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if page.exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_one_that_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^(?:    |\$ )gmemsim (.+)$", text, re.MULTILINE):
        try:
            parse(line)
        except click.exceptions.Exit:
            pass  # --help, --version
        except click.ClickException as error:
            pytest.fail(f"gmemsim {line}: {error.format_message()}")


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("width", [60, 80])
def test_help_shows_the_examples(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    package = sys.modules["gmemsim.cli"]
    for module in [each for each in sys.modules if each.startswith("gmemsim.cli.")]:
        # The examples are folded when a command is loaded. Its package knows it too, and has it back afterwards.
        monkeypatch.setattr(package, module.rpartition(".")[2], sys.modules[module], raising=False)
        monkeypatch.delitem(sys.modules, module)
    from gmemsim.cli.group import cli as loaded_now

    result = CliRunner().invoke(loaded_now, [*name.split(), "--help"], terminal_width=width - 2)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    unfolded = " ".join(result.stdout.replace("\\\n", " ").split())
    assert "Examples:" in unfolded
    for line, _ in EXAMPLES[name]:
        assert f"gmemsim {line}" in unfolded


def test_the_examples_of_sql_are_answered(tmp_path: Path) -> None:
    run = CliRunner()
    log = tmp_path / "run.jsonl.zst"
    assert run.invoke(cli, ["run", "hole", "--log", str(log)]).exit_code == 0
    for line, _ in EXAMPLES["query"]:
        name, _, *rest = shlex.split(line)
        result = run.invoke(cli, [name, str(log), *rest])
        assert result.exit_code == 0, result.output


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
