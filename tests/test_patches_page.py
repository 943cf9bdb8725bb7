"""docs/patches.md: its patches load and come to what it says, and what it names is there."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.actors import errno
from gmemsim.actors.memslot import Memslot
from gmemsim.cli.group import cli
from gmemsim.engine.locks.folio_lock import FolioLock
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.task import Task
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.v3 import V3

FILE = Path(__file__).parents[1] / "docs" / "patches.md"
PAGE = FILE.read_text() if FILE.exists() else ""

pytestmark = pytest.mark.skipif(not PAGE, reason="the page is in the repository, not in the package")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_choice_is_passed_and_the_harm_is_found(folder: Path) -> None:
    command = "explore zoo-prepare_punch --patch mine.py:PrepareUnlocked --arch snp"
    assert f"    gmemsim {command}\n" in PAGE
    result = CliRunner().invoke(cli, [*command.split(), "--no-shrink"])
    assert result.exit_code == 1
    assert "I33 restates a choice of lock or order" in result.output
    assert "Harm found past I33: I3" in result.output


def test_the_right_one_is_taken(folder: Path) -> None:
    result = CliRunner().invoke(
        cli,
        [
            "explore",
            "close",
            "--patch",
            "mine.py:SharedFault",
            "--strategy",
            "random",
            "--max-schedules",
            "20",
        ],
    )
    assert result.exit_code == 0, result.output
    assert "never ran" not in result.output


def test_an_arch_hook_is_changed_for_one_vm_type(folder: Path) -> None:
    assert "    gmemsim explore hole --patch mine.py:NoPrepare --arch snp\n" in PAGE
    for arch, ends in (("snp", False), ("tdx", True)):
        command = f"run hole --patch mine.py:NoPrepare --arch {arch} --small --limit 1ms"
        result = CliRunner().invoke(cli, command.split())
        assert ("time_limit" not in result.output) is ends, result.output


def test_functions_that_call_the_arch_are_in_a_version() -> None:
    rows = re.findall(r"^\| `\w+`.* \| `(\w+)(?:\((t, .*)\))?` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for name, arguments in rows:
        taken = list(signature(getattr(Inplace, name, None) or getattr(V3, name)).parameters)
        given = ["self", *filter(None, arguments.split(", "))]
        assert taken[: len(given)] == given, name


def test_what_the_table_names_is_there() -> None:
    owners: dict[str, tuple[type, ...]] = {
        "invalidate_lock": (RwSem,),
        "sem": (RwSem,),
        "lock": (FolioLock, RwSem),
        "mmu_lock": (QueuedRwLock,),
        "slots_lock": (Mutex,),
        "self": (V3,),
        "slot": (Memslot,),
        "t": (Task,),
    }
    found = [(owner, name) for owner, name in re.findall(r"(\w+)\.(\w+)\(", PAGE) if owner in owners]
    assert len(found) >= 20
    for owner, name in found:
        assert any(hasattr(cls, name) for cls in owners[owner]), f"{owner}.{name}"
    for lone in ("write_lock", "read_unlock", "write_unlock"):
        assert hasattr(QueuedRwLock, lone)
    assert hasattr(RwSem, "down_write")
    assert hasattr(RwSem, "up_write")
    assert hasattr(Mutex, "unlock")
    for name in re.findall(r"\bE[A-Z]{3,}\b", PAGE):
        assert hasattr(errno, name)
