"""A small form of `bench/interrupts.py`: some rows of the matrix of commands, phases and signals."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "interrupts.py"

pytestmark = pytest.mark.skipif(
    not SCRIPT.exists(), reason="the script is in the repository, not in the package"
)


def _matrix() -> Any:
    spec = importlib.util.spec_from_file_location("interrupts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["interrupts"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("explore, searching", signal.SIGINT),
        ("explore, judging", signal.SIGTERM),
        ("stress, second cell", signal.SIGINT),
        ("explore --jobs", signal.SIGKILL),
    ],
)
def test_a_row_of_the_matrix(name: str, number: signal.Signals, tmp_path: Path) -> None:
    matrix = _matrix()
    case = next(each for each in matrix.CASES if each.name == name)
    assert matrix.try_case(case, number, tmp_path).wrong == ""


def test_every_place_is_there() -> None:
    """A function that was renamed would never be entered, and its row would say nothing."""
    for case in _matrix().CASES:
        module, _, name = case.place.partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found), case.name
