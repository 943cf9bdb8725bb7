"""Scripts under bench/ and docs/ are run by hand, long after what they import was moved."""

from __future__ import annotations

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("bench", "docs", "examples") for path in (ROOT / folder).rglob("*.py"))


def is_there(module: str, name: str) -> bool:
    """Whether `from module import name` works: a name of it, or a module in it."""
    found = importlib.import_module(module)
    if hasattr(found, name):
        return True
    return hasattr(found, "__path__") and find_spec(f"{module}.{name}") is not None


def missing(source: str) -> list[str]:
    """Names that a script imports from gmemsim and that are not there."""
    return [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gmemsim"
        for alias in node.names
        if not is_there(node.module, alias.name)
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_it_imports_of_gmemsim_is_there(script: Path) -> None:
    assert missing(script.read_text(encoding="utf-8")) == []


def test_a_name_that_went_is_seen() -> None:
    assert missing("from gmemsim.cli.running import user_error, no_such_name") == [
        "gmemsim.cli.running.no_such_name"
    ]
