"""The records that pages are made from: what goes on with one reads it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import zstandard

ROOT = Path(__file__).parents[1]
RECORDS = ("pairs", "triples", "quadruples", "mends")


@pytest.fixture(scope="module")
def matrix() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_matrix", ROOT / "bench" / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_has_each_cell_or_question_once(name: str, matrix: ModuleType, tmp_path: Path) -> None:
    packed = ROOT / "docs" / f"{name}.jsonl.zst"
    lines = zstandard.ZstdDecompressor().decompress(packed.read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    (tmp_path / packed.name).write_bytes(packed.read_bytes())
    assert matrix.recorded(tmp_path / f"{name}.jsonl") == rows
    # The last answer counts, and a line that was cut off does not.
    (tmp_path / f"{name}.jsonl").write_text(
        "".join(f"{line}\n" for line in (*lines, json.dumps({**rows[0], "cpu_seconds": -1.0})))
        + lines[1][:9],
        encoding="utf-8",
    )
    again = matrix.recorded(tmp_path / f"{name}.jsonl")
    assert len(again) == len(rows)
    assert again[0]["cpu_seconds"] == -1.0
    assert again[1:] == rows[1:]
