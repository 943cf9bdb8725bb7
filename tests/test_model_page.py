"""docs/model.md: what it names in the code is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "gmemsim"
PAGE = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
ITEMS = PAGE.split("## Held against the sources, item by item")[1].split("\n## ")[0]


def test_the_files_are_there() -> None:
    named = set(re.findall(r"`((?:actors|arch|patches|engine|explore|scenarios|audit)/[\w/]+\.py)`", PAGE))
    assert len(named) > 40
    assert not [name for name in sorted(named) if not (SOURCES / name).is_file()]


def test_the_functions_of_each_item_are_there() -> None:
    """A name behind a file is in that file; one without a file, or `Class.field`, is somewhere."""
    everything = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py"))
    missing = []
    for row in re.findall(r"^\|.*\| (.+) \|$", ITEMS, re.MULTILINE):
        text = everything
        for name in re.findall(r"`([^`]+)`", row):
            if name.endswith(".py"):
                text = (SOURCES / name).read_text(encoding="utf-8")
                continue
            word = name.rpartition(".")[2]
            where = everything if "." in name else text
            if name.isidentifier() or "." in name:
                missing += [] if re.search(rf"\b{word}\b", where) else [name]
    assert not missing
