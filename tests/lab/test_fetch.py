"""What is said of tools that are missing, and how they are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.lab import fetch
from gmemsim.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Apt:
    """An apt-get that fails as often as it is told to."""

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = list(failures)
        self.ran: list[str] = []

    def __call__(self, arguments: list[str], settings: Sequence[str], folder: object = None) -> None:
        self.ran.append(arguments[0])
        if self.failures and (failure := self.failures.pop(0)):
            raise LabError(f"apt-get: {failure}")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> list[fetch.Tool]:
    tools = list(fetch.TOOLS[:2])
    monkeypatch.setattr(fetch, "missing_tools", lambda: list(tools))
    monkeypatch.setattr("gmemsim.lab.fetch.os.geteuid", lambda: 0)
    monkeypatch.setattr("gmemsim.lab.fetch.shutil.which", lambda program, path=None: f"/usr/bin/{program}")
    return tools


def test_nothing_is_installed_where_nothing_is_missing(missing: list[fetch.Tool]) -> None:
    missing.clear()
    said: list[str] = []
    fetch.install(said.append)
    assert said == ["nothing is missing"]


def test_without_root_the_command_is_said(missing: list[fetch.Tool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmemsim.lab.fetch.os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root: sudo apt-get install gcc libc6-dev qemu-system-x86$"):
        fetch.install(print)


def test_without_apt_the_programs_are_said(
    missing: list[fetch.Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gmemsim.lab.fetch.shutil.which", lambda program, path=None: None)
    with pytest.raises(LabError, match=r"missing: qemu-system-x86_64, gcc; there is no apt-get here"):
        fetch.install(print)


def test_lists_are_read_anew_where_a_package_is_not_found(
    missing: list[fetch.Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = Apt(["E: Unable to locate package gcc"])
    monkeypatch.setattr(fetch, "_apt", apt)
    said: list[str] = []
    with pytest.raises(LabError, match="was done, and still missing: qemu-system-x86_64, gcc"):
        fetch.install(said.append)
    assert apt.ran == ["install", "update", "install"]
    assert "Unable to locate package gcc; reading apt's lists" in said[-1]
    apt = Apt(["E: Unable to locate package gcc", "E: Failed to fetch"])
    monkeypatch.setattr(fetch, "_apt", apt)
    with pytest.raises(LabError, match="apt-get: E: Failed to fetch"):
        fetch.install(said.append)


def test_the_cause_is_what_apt_says_first() -> None:
    text = "W: something; echo 'E: the cause' >&2; echo 'E: what follows' >&2; exit 100"
    with pytest.raises(LabError, match=r"^sh: E: the cause$"):
        fetch._run(["sh", "-c", text])
    with pytest.raises(LabError, match=r"^sh: last$"):
        fetch._run(["sh", "-c", "echo first >&2; echo last >&2; exit 1"])


def test_a_compiler_without_the_static_libc_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmemsim.lab.fetch.shutil.which", lambda program, path=None: "/bin/echo")
    # echo gives its argument back as gcc does with a name that it knows no place of.
    assert "gcc" in [tool.program for tool in fetch.missing_tools()]
    assert "depmod" not in [tool.program for tool in fetch.missing_tools()]
