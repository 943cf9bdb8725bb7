"""Whoever cannot use what was given says so by one class, and a command tells it in one line."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from gmemsim.audit.errors import LogError
from gmemsim.bad_input import BadInput
from gmemsim.cli.commands import COMMANDS
from gmemsim.cli.errors import Command, Group
from gmemsim.cli.group import cli
from gmemsim.explore.token_names import TokenError
from gmemsim.follow.ftrace import TraceError
from gmemsim.jobs.state_file import StateError
from gmemsim.lab.errors import LabError
from gmemsim.patches.user_file import PatchError
from gmemsim.scenarios.conform.document import VectorError
from gmemsim.scenarios.errors import ScenarioError


@click.group(cls=Group)
def group() -> None:
    """Of one command."""


@group.command("fail")
def fail() -> None:
    """Is given a file that it cannot use."""
    raise BadInput("mine.toml:3: pages: expected a number")


def test_bad_input_is_one_line_and_exit_code_2() -> None:
    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 2
    assert result.output == "Error: mine.toml:3: pages: expected a number\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_it(name: str) -> None:
    found = cli.get_command(click.Context(cli), name)
    assert isinstance(found, Command | Group)
    if isinstance(found, Group):
        assert all(isinstance(each, Command) for each in found.commands.values())


@pytest.mark.parametrize(
    "cls", [ScenarioError, PatchError, TraceError, LogError, VectorError, TokenError, LabError, StateError]
)
def test_errors_of_input_are_of_one_class(cls: type[Exception]) -> None:
    assert issubclass(cls, BadInput)
