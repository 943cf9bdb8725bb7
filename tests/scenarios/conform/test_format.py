"""Files that are no vectors get one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gmemsim.patches.v3 import V3
from gmemsim.scenarios.conform import VectorError, load_vectors
from gmemsim.scenarios.conform.suite import cases, judge

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


def step(**changes: Any) -> dict[str, Any]:
    """The only step, changed."""
    return {**GOOD["steps"][0], **changes}


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
        ({"id": 7}, "mine.jsonl:1: field 'id': expected a string, got an integer"),
        ({"steps": []}, "field 'steps': expected a list of length >= 1"),
        ({"evidence": "hearsay"}, "field 'evidence': expected one of asserted"),
        ({"applies_to": {"versions": []}}, "field 'applies_to.versions'"),
        (
            {"steps": [{"actor": "host", "op": "create", "expect": {}}]},
            "step 0: field 'expect': object missing required field result",
        ),
        ({"steps": [{"actor": "host", "op": 1, "expect": {"result": "ok"}}]}, "step 0: field 'op'"),
        ({"steps": [3]}, "field 'steps[0]': expected an object, got an integer"),
        ({"setup": {"vcpus": 1e30}}, "field 'setup.vcpus': expected an integer, got a number with a point"),
        ({"setup": {"vcpus": 10**6}}, "field 'setup.vcpus': expected an integer <= 4096"),
        ({"setup": {"vcpus": 1 << 80}}, "field 'setup.vcpus': expected an integer of 64 bits"),
        (
            {"setup": {"gmems": [{"id": "g", "size": "1"}]}},
            "field 'setup.gmems[0].size': expected an integer",
        ),
        ({"setup": {"slots": [{"slot": 1}]}}, "field 'setup.slots[0]': object missing required field gpa"),
        ({"kernels": {"min": 7}}, "field 'kernels.min': expected a string or null, got an integer"),
        (
            {"steps": [step(args={"size": 1, "flags": [], "as": 3})]},
            "step 0: field 'args.as': expected a string",
        ),
        (
            {"steps": [step(args={"size": 1, "flags": []})]},
            "step 0: field 'args': object missing required field",
        ),
        ({"steps": [step(args=[])]}, "step 0: field 'args': expected an object, got a list"),
        (
            {"steps": [step(expect={"result": "ok", "gpa": []})]},
            "step 0: field 'expect.gpa': expected an integer",
        ),
        (
            {"steps": [step(op="host_read", args={"map": "m", "offset": 0, "len": 1 << 40})]},
            "step 0: field 'args.len': expected an integer <= 1073741824",
        ),
        (
            {"steps": [step(op="loop", args={"count": 2, "steps": []})]},
            "step 0: field 'args.steps': expected a list of steps",
        ),
        (
            {
                "steps": [
                    {"actor": "host", "op": "parallel", "args": {"branches": 3}, "expect": {"result": "ok"}}
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
    with pytest.raises(VectorError, match="Is a directory"):
        load_vectors(tmp_path)
    twice = tmp_path / "twice.jsonl"
    text = json.dumps(GOOD)
    for one, two in (('"expect": {', '"expect": {"result": "EINVAL", '), ('{"id"', '{"steps": [], "id"')):
        assert one in text
        twice.write_text(text.replace(one, two, 1))
        with pytest.raises(VectorError, match=r"twice\.jsonl:1: field '(result|steps)' is given twice"):
            load_vectors(twice)
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"id": ')
    with pytest.raises(VectorError, match=r"torn\.jsonl:1: not JSON"):
        load_vectors(torn)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"id": "\xff"}', "not a text in UTF-8"),
        (b'{"id": "\\ud800"}', "not JSON"),
        (b'{"id": NaN}', "not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "expected an object"),
    ],
)
def test_hostile_texts(tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "hostile.jsonl"
    file.write_bytes(text)
    with pytest.raises(VectorError, match=rf"hostile\.jsonl:1: {message}") as caught:
        load_vectors(file)
    assert "\n" not in str(caught.value)


def test_steps_are_bounded(tmp_path: Path) -> None:
    """In number and in depth, whatever nests them."""
    nested: dict[str, Any] = step()
    for _ in range(20):
        nested = step(op="loop", args={"count": 1, "steps": [nested]}, expect={"result": "ok"})
    with pytest.raises(VectorError, match="nested more than 8 deep"):
        load_vectors(write(tmp_path, {**GOOD, "steps": [nested]}))
    with pytest.raises(VectorError, match="more than 20000 steps"):
        load_vectors(write(tmp_path, {**GOOD, "steps": [step()] * 20_001}))
    loops = step(op="loop", args={"count": 1000, "steps": [step()]}, expect={"result": "ok"})
    loops = step(op="loop", args={"count": 1000, "steps": [loops]}, expect={"result": "ok"})
    with pytest.raises(VectorError, match="loops of more than 1000000 steps in all"):
        load_vectors(write(tmp_path, {**GOOD, "steps": [loops]}))
    with pytest.raises(VectorError, match="more than 64 MiB"):
        load_vectors(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"colour": 1}, "key 'colour'"),
        ({"setup": {"weather": "fine"}}, "key 'setup.weather'"),
        ({"setup": {"gmems": [{"id": "g", "size": 4096, "zzz": 1}]}}, "key 'setup.gmems[0].zzz'"),
        (
            {"setup": {"maps": [{"id": "m", "gmem": "g", "offset": 0, "len": 1, "z": 1}]}},
            "key 'setup.maps[0].z'",
        ),
        ({"setup": {"module_params": {"nx": True}}}, "key 'setup.module_params.nx'"),
        ({"setup": {"initial_state": "mixed"}}, "'mixed' as setup.initial_state"),
        ({"setup": {"variant": "hugetlb_rfc_2025"}}, "'hugetlb_rfc_2025' as setup.variant"),
        ({"setup": {"page_size": 65536}}, "65536 as setup.page_size"),
        ({"kernels": {"mni": "9.9"}}, "key 'kernels.mni'"),
        ({"kernels": {"min": "next"}}, "'next' as kernels.min"),
        ({"applies_to": {"versions": ["v9"], "vm_types": ["default"]}}, "'v9' in applies_to.versions"),
        ({"applies_to": {"versions": ["v3"], "vm_types": ["sev"]}}, "'sev' in applies_to.vm_types"),
        ({"steps": [step(actor="nobody")]}, "step 0: 'nobody' as actor"),
        ({"steps": [step(actor="vcpu0")]}, "step 0: actor 'vcpu0', there is no such vCPU"),
        ({"steps": [step(actor="host@vm9")]}, "step 0: actor 'host@vm9', there is no such VM"),
        ({"steps": [step(op="resume", args={})]}, "step 0: actor 'host' of resume, expected a vCPU"),
        ({"steps": [step(op="defragment")]}, "step 0: operation 'defragment'"),
        ({"steps": [step(colour=1)]}, "step 0: key 'colour'"),
        ({"steps": [step(args={"size": 1, "flags": [], "as": "g", "z": 1})]}, "step 0: key 'args.z'"),
        (
            {"steps": [step(args={"size": 1, "flags": ["FAST"], "as": "g"})]},
            "step 0: 'FAST' as args.flags[0]",
        ),
        ({"steps": [step(expect={"result": "EINVAL", "smell": 1})]}, "step 0: key 'expect.smell'"),
        ({"steps": [step(expect={"result": "fine"})]}, "step 0: result 'fine'"),
        (
            {"steps": [step(expect={"result": "ok", "aligned_to": 1})]},
            "key 'aligned_to' of expect for create",
        ),
        ({"steps": [step(expect={"result": "any_of", "any_of": ["okay"]})]}, "step 0: result 'okay'"),
        (
            {
                "steps": [
                    step(
                        op="parallel",
                        args={"branches": [[step(actor="nobody")]]},
                        expect={"result": "ok", "invariants": ["all is well"]},
                    )
                ]
            },
            "step 0: 'all is well' as expect.invariants[0]",
        ),
        (
            {"steps": [step(op="loop", args={"count": 1, "steps": [step(expect={"result": "ok", "z": 1})]})]},
            "step 0.0.0: key 'expect.z'",
        ),
    ],
)
def test_what_nobody_knows_is_unsupported(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """At every depth, wherever the vector is asked for."""
    (vector,) = load_vectors(write(tmp_path, {**GOOD, **change}))
    assert reason in vector.unsupported()
    found = [judge(case) for case in cases([vector], [V3], ["default"])]
    assert [result.verdict.result for result in found] == ["unsupported"]
    assert reason in found[0].verdict.got
