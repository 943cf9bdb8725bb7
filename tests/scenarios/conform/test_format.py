"""Files that are no vectors get one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gmemsim.scenarios.conform import VectorError, load_vectors

GOOD: dict[str, Any] = {
    "id": "mine",
    "evidence": "derived",
    "applies_to": {"versions": ["v3"], "vm_types": ["default"]},
    "setup": {},
    "steps": [
        {
            "actor": "host",
            "op": "create",
            "args": {"size": 1, "flags": [], "as": "g"},
            "expect": {"result": "EINVAL"},
        }
    ],
}


def write(path: Path, *documents: Any) -> Path:
    file = path / "mine.jsonl"
    file.write_text("\n".join(json.dumps(document) for document in documents), encoding="utf-8")
    return file


def test_a_users_own_file(tmp_path: Path) -> None:
    (vector,) = load_vectors(write(tmp_path, GOOD))
    assert vector.id == "mine"
    assert vector.steps[0].path == "0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 7}, "mine.jsonl:1: field 'id': expected a string"),
        ({"steps": []}, "field 'steps': expected at least one step"),
        ({"evidence": "hearsay"}, "field 'evidence': expected one of asserted"),
        ({"applies_to": {"versions": []}}, "field 'applies_to.versions'"),
        ({"steps": [{"actor": "host", "op": "create", "expect": {}}]}, "step 0: field 'expect'"),
        ({"steps": [{"actor": "host", "op": 1, "expect": {"result": "ok"}}]}, "step 0: field 'op'"),
        ({"steps": [3]}, "step 0: expected an object"),
        (
            {
                "steps": [
                    {"actor": "h", "op": "parallel", "args": {"branches": 3}, "expect": {"result": "ok"}}
                ]
            },
            "step 0: field 'args.branches'",
        ),
    ],
)
def test_wrong_fields(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(VectorError) as caught:
        load_vectors(write(tmp_path, {**GOOD, **change}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_duplicate_empty_missing_and_torn_files(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"mine\.jsonl:2: id 'mine' is used on line 1"):
        load_vectors(write(tmp_path, GOOD, GOOD))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(VectorError, match="no vectors"):
        load_vectors(empty)
    with pytest.raises(VectorError, match="No such file"):
        load_vectors(tmp_path / "none.jsonl")
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"id": ')
    with pytest.raises(VectorError, match=r"torn\.jsonl:1: not JSON"):
        load_vectors(torn)
