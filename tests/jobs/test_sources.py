"""What a user's result follows from: the file that was named and what it imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.jobs.sources import of_files, with_imports

if TYPE_CHECKING:
    from pathlib import Path

HELPER = "FLAG = 0\n"


@pytest.mark.parametrize(
    "how",
    [
        "import helper",
        "import helper as h, sys",
        "from helper import FLAG",
        "def later():\n    from helper import FLAG",
        "import between",
        "import package.part",
        "from package import part",
        "from package.part import FLAG",
    ],
)
def test_a_helper_that_changed_is_another_file(tmp_path: Path, how: str) -> None:
    (tmp_path / "mine.py").write_text(f"{how}\n", encoding="utf-8")
    (tmp_path / "between.py").write_text("import helper\n", encoding="utf-8")
    helper = tmp_path / "helper.py"
    if "package" in how:
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "__init__.py").touch()
        helper = tmp_path / "package" / "part.py"
    helper.write_text(HELPER, encoding="utf-8")
    name = f"{tmp_path / 'mine.py'}:Mine"
    before = of_files([name])
    assert of_files([name]) == before
    helper.write_text("FLAG = 1\n", encoding="utf-8")
    assert of_files([name]) != before


def test_what_is_installed_is_not_the_users(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import json\nimport trio\nfrom gmemsim.patches.v3 import V3\nimport mine\n", encoding="utf-8"
    )
    assert with_imports([mine]) == [mine]


def test_files_that_import_each_other(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("import other\n", encoding="utf-8")
    other.write_text("import one\n", encoding="utf-8")
    assert with_imports([one]) == [one, other]


@pytest.mark.parametrize("text", ["def (", "\0", "import \n"])
def test_a_file_that_is_no_python_is_itself(tmp_path: Path, text: str) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(text, encoding="utf-8")
    assert with_imports([mine]) == [mine]
