"""Seeds, warm-up and intervals; a sweep that stops and goes on."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import attrs
import msgspec
import pytest
from click.testing import CliRunner

from gmemsim.cli.bench import command
from gmemsim.contention import campaign
from gmemsim.contention.campaign import Cell, done_of, open_state, run_cell
from gmemsim.contention.intervals import by_point, interval, ratio
from gmemsim.contention.point import Point, PointError, check
from gmemsim.contention.steady import Units, window
from gmemsim.contention.storm import run
from gmemsim.jobs.state_file import StateError

POINT = Point("inplace", "snp", "refault", "convert", 4, 64)
SMALL = [
    "contention",
    "--storm",
    "refault",
    "--patch",
    "v3,inplace",
    "--vcpus",
    "2",
    "--pages",
    "16",
    "--json",
]


def test_window() -> None:
    units = Units()
    for begin, end, attempts in ((0, 10, 1), (0, 40, 3), (40, 60, 1), (60, 100, 1), (90, 120, 2)):
        units.add(begin, end, attempts)
    whole = window(units, 0, 100, 120, 0)
    assert (list(whole.latencies), whole.attempts, whole.ns, whole.first_half) == (
        [10, 40, 20, 40, 30],
        8,
        120,
        3,
    )
    cut = window(units, 0, 100, 120, 20)
    assert (list(cut.latencies), cut.attempts) == ([40, 20, 40], 5)
    assert (cut.ns, cut.first_half) == (80, 2)


def test_interval_is_students() -> None:
    """Three values: mean 2, standard deviation 1, t of two degrees of freedom 4.303."""
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half == pytest.approx(4.303 / math.sqrt(3))
    assert f"{found:.1f}" == "2.0 ±2.5"
    assert interval([7.0]).half is None
    many = [float(value % 7) for value in range(200)]
    assert interval(many).half == pytest.approx(1.98 * statistics.stdev(many) / math.sqrt(200))


def test_a_seed_is_the_same_for_all_versions_and_runs() -> None:
    one, again, other = (run(attrs.evolve(POINT, seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert one.virtual_ns != other.virtual_ns
    # Alone, a thread of each version pauses alike: the difference of the two is that of their work.
    alone = attrs.evolve(POINT, vcpus=1, background="none")
    pauses = {
        run(attrs.evolve(alone, seed=3, patch=patch)).span_ns - run(attrs.evolve(alone, patch=patch)).span_ns
        for patch in ("baseline", "v3")
    }
    assert len(pauses) == 1


def test_warm_up_cuts_the_common_start() -> None:
    """First touches in lock-step all wait at first; the window is within the storm and has fewer units."""
    whole, cut = (run(attrs.evolve(POINT, seed=1, warmup=percent)) for percent in (0, 30))
    assert cut.span_ns == whole.span_ns == whole.virtual_ns
    assert cut.virtual_ns < whole.virtual_ns
    assert cut.faults < whole.faults
    assert cut.locks == whole.locks
    with pytest.raises(PointError, match="warmup 95"):
        check(attrs.evolve(POINT, warmup=95))


def test_ratios_are_taken_seed_by_seed() -> None:
    results = [
        run(attrs.evolve(POINT, seed=seed, patch=patch)) for seed in (1, 2) for patch in ("v3", "inplace")
    ]
    (_, old), (_, new) = by_point(results).items()
    found = ratio(new, old, lambda r: r.faults_per_ms)
    expected = [b.faults_per_ms / a.faults_per_ms for a, b in zip(old, new, strict=True)]
    assert found == interval(expected)


def test_a_line_of_a_state_file_is_the_result() -> None:
    done = run_cell(Cell(POINT, (("line", 200),)))
    assert done_of(msgspec.json.decode(msgspec.json.encode(done.document()))) == done


def test_a_stopped_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "a.state"
    whole = json.loads(CliRunner().invoke(command, SMALL).stdout)
    ran: list[str] = []
    original = campaign.run_cell

    def counted(cell: Cell, trace: None = None) -> campaign.Done:
        ran.append(cell.point.patch)
        return original(cell, trace)

    monkeypatch.setattr(campaign, "run_cell", counted)
    state.write_text("")
    first = CliRunner().invoke(command, [*SMALL, "--patch", "v3", "--release", "7.4", "--state", str(state)])
    assert first.exit_code == 0, first.output
    with state.open("a") as file:
        file.write('{"changes": [], "result": {')  # the line that a kill left behind
    second = CliRunner().invoke(command, [*SMALL, "--state", str(state)])
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout) == whole
    assert ran == ["v3", "inplace"]


def test_jobs_give_the_same(tmp_path: Path) -> None:
    one, two = (CliRunner().invoke(command, [*SMALL, *more]) for more in ([], ["--jobs", "2"]))
    assert two.exit_code == 0, two.output
    assert one.stdout == two.stdout


def test_two_campaigns_on_one_file_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "a.state"
    with open_state(state, [Cell(POINT)]), pytest.raises(StateError, match="another campaign"):
        open_state(state, [Cell(POINT)])


def test_results_of_other_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "a.state"
    open_state(state, [Cell(POINT)]).close()
    monkeypatch.setattr(campaign, "sources_digest", lambda: "other")
    with pytest.raises(StateError, match="was made with sources"):
        open_state(state, [Cell(POINT)])


def test_intervals_are_shown() -> None:
    arguments = [
        "contention",
        "--storm",
        "refault",
        "--patch",
        "v3",
        "--vcpus",
        "2",
        "--pages",
        "16",
        "--seeds",
        "2",
    ]
    done = CliRunner().invoke(command, [*arguments, "--report", "summary"])
    assert done.exit_code == 0, done.output
    assert "means of 2 seeds" in done.stdout
    assert "±" in done.stdout
