"""Stress campaigns: cells, the state file, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from gmemsim.cli.stress import _violations
from gmemsim.explore import stress
from gmemsim.explore.replay import replay
from gmemsim.explore.stress import Cell, Plan, open_state, run_cell, run_cells, sources_of
from gmemsim.jobs.share import Place
from gmemsim.jobs.state_file import StateError

SCENARIO = """
[scenario]
name = "mf_punch"
summary = "A memory failure against a punch"
question = "Can they wait for each other?"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"

[[task]]
name = "first"
ops = [{ op = "allocate", file = "gmem0" }, { op = "memory_failure", file = "gmem0" }]

[[task]]
name = "punch"
ops = [{ op = "punch", file = "gmem0" }]
"""

PLAN = Plan(schedules=40, strategy="random")


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    path = tmp_path / "mf.toml"
    path.write_text(SCENARIO)
    return Cell(str(path), "v3", "sw-protected", 1)


def test_cell_reports_each_signature_once_with_a_token(cell: Cell) -> None:
    result = run_cell(cell, PLAN)
    assert result["schedules"] == 40
    (violation,) = result["violations"]
    assert violation["rule"] == "deadlock"
    assert replay(violation["replay"]).same_failure


def test_a_cell_and_its_state_file_tell_crashes_apart(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3):\n"
        "    async def kvm_gmem_punch_hole(self, t, inode, start, end):\n        raise KeyError(start)\n\n"
        "    async def memory_failure(self, t, inode, index):\n        raise KeyError(index)\n"
    )
    cell = attrs.evolve(cell, patch=f"{tmp_path / 'mine.py'}:Mine")
    with open_state(tmp_path / "state.jsonl", PLAN) as kept:
        kept.add(run_cell(cell, PLAN))
    with open_state(tmp_path / "state.jsonl", PLAN) as kept:
        result = kept.results[cell]
    assert [one["rule"] for one in result["violations"]] == ["crash", "crash"]
    where = {one["place"].rpartition(", ")[2] for one in result["violations"]}
    assert where == {"kvm_gmem_punch_hole", "memory_failure"}
    assert len(_violations({cell: result})) == 2


def test_cell_depends_on_its_description_alone(cell: Cell) -> None:
    one, two = run_cell(cell, PLAN), run_cell(cell, PLAN)
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_resumed_campaign_does_what_is_missing(cell: Cell, tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    first = run_cell(cell, PLAN)
    with open_state(state, PLAN) as kept:
        kept.add(first)
    with open_state(state, PLAN) as kept:
        assert kept.results == {cell: first}
        other = Cell("punch", "v3", "sw-protected", 0)
        missing = [each for each in (cell, other) if each not in kept.results]
        for result in run_cells(missing, PLAN, Place()):
            kept.add(result)
    with open_state(state, PLAN) as kept:
        assert set(kept.results) == {cell, other}


def test_a_result_says_what_it_was_made_of(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    made_of = run_cell(cell, PLAN)["sources"]
    assert made_of == sources_of(cell, PLAN)
    Path(cell.scenario).write_text(SCENARIO.replace("pages = 1", "pages = 2"))
    assert sources_of(cell, PLAN) != made_of
    Path(cell.scenario).write_text(SCENARIO)
    monkeypatch.setattr(stress, "of_model", lambda *rooms: "other")
    assert sources_of(cell, PLAN) != made_of


def test_torn_line_is_dropped(cell: Cell, tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    with open_state(state, PLAN) as kept:
        kept.add(run_cell(cell, PLAN))
    whole = state.read_bytes()
    state.write_bytes(whole + b'{"scenario": "pun')
    with open_state(state, PLAN) as kept:
        assert set(kept.results) == {cell}
    assert state.read_bytes() == whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "1: not JSON"),
        ("{}\n", "1: expected a file of `gmemsim stress`"),
        ("no newline", "1: expected a file of `gmemsim stress`"),
    ],
)
def test_other_files_are_refused_and_kept(tmp_path: Path, text: str, message: str) -> None:
    state = tmp_path / "state.jsonl"
    state.write_text(text)
    with pytest.raises(StateError, match=message):
        open_state(state, PLAN)
    assert state.read_text() == text


@pytest.mark.parametrize(
    ("key", "value", "good"),
    [
        ("schedules", -1, False),
        ("steps", -1, False),
        ("classes", -1, False),
        ("seconds", -0.5, False),
        ("schedules", 1 << 63, False),
        ("steps", 10**40, False),
        ("classes", 10**40, False),
        ("schedules", 1.5, False),
        ("schedules", 0, True),
        ("steps", 1 << 62, True),
        ("seconds", 0, True),
    ],
)
def test_a_cell_that_no_search_came_to_is_refused_and_kept(
    cell: Cell, tmp_path: Path, key: str, value: float, good: bool
) -> None:
    state = tmp_path / "state.jsonl"
    result = {
        **attrs.asdict(cell),
        "schedules": 4,
        "steps": 9,
        "seconds": 0.1,
        "classes": 2,
        "violations": [],
    }
    open_state(state, PLAN).close()
    with state.open("a") as file:
        file.write(json.dumps({**result, key: value}) + "\n")
    before = state.read_bytes()
    if good:
        with open_state(state, PLAN) as kept:
            assert kept.results[cell][key] == value
    else:
        with pytest.raises(StateError, match=f"2: expected a finished cell: .*{key}"):
            open_state(state, PLAN)
    assert state.read_bytes() == before


def test_other_plan_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    open_state(state, PLAN).close()
    with pytest.raises(StateError, match="schedules 40, not 50"):
        open_state(state, Plan(schedules=50, strategy="random"))
