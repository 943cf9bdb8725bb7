"""Results in the formats of the field."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.cli.bench import command
from gmemsim.contention.flat import to_csv, to_parquet
from gmemsim.contention.lock_book import Site
from gmemsim.contention.lock_stat import lock_stat
from gmemsim.contention.point import Point
from gmemsim.contention.result import LockFigures, Result
from gmemsim.contention.storm import run

SMALL = ["contention", "--storm", "refault", "--patch", "inplace", "--vcpus", "4", "--pages", "64"]


def test_lock_stat_rows() -> None:
    """The columns, widths and rounding of `seq_stats` in kernel/locking/lockdep_proc.c."""
    write = LockFigures(acquisitions=4, contentions=3, wait_total=6004, wait_min=1000, wait_max=3004, hold_total=100,
                        hold_min=10, hold_max=40, con_bounces=2, acq_bounces=4)  # fmt: skip
    site = Site("invalidate_lock", "w", "kvm_gmem_punch_hole", 3, 6004, 3004, 4, 100, 40)
    locks = {"invalidate_lock:w": write, "invalidate_lock:r": LockFigures(acquisitions=1, hold_total=994)}
    result = Result(Point(), 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, locks, sites=(site,))
    lines = lock_stat(result).splitlines()
    assert lines[0] == "lock_stat version 0.4"
    assert lines[2].split()[:3] == ["class", "name", "con-bounces"]
    assert [len(line) for line in lines[1:4]] == [221, 220, 221]
    row = next(line for line in lines if "-W:" in line)
    assert len(row) == 220
    assert row.split() == [
        "mapping.invalidate_lock-W:", "2", "3", "1.00", "3.00", "6.00", "2.00", "4", "4", "0.01", "0.04", "0.10",
        "0.03",
    ]  # fmt: skip
    assert next(line for line in lines if "-R:" in line).split()[-2:] == ["0.99", "0.99"]
    assert lines[-4].split() == ["mapping.invalidate_lock", "3", "kvm_gmem_punch_hole"]


def test_parquet_is_the_csv_with_types(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    results = [run(Point(patch, vcpus=2, pages=8)) for patch in ("v3", "inplace")]
    path = tmp_path / "a.parquet"
    path.write_bytes(to_parquet(results))
    table = duckdb.read_parquet(str(path))
    rows = list(csv.reader(io.StringIO(to_csv(results))))
    assert table.columns == rows[0]
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert (types["patch"], types["faults"], types["other_lines"]) == ("VARCHAR", "BIGINT", "BOOLEAN")
    assert types["faults_per_ms"] == "DOUBLE"
    for row, line in zip(table.fetchall(), rows[1:], strict=True):
        assert [str(cell) for cell in row] == line


def test_html_and_trace(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    html, trace = tmp_path / "a.html", tmp_path / "a.json"
    done = CliRunner().invoke(
        command, [*SMALL, "--background", "convert", "--html", str(html), "--trace", str(trace)]
    )
    assert done.exit_code == 0, done.output
    page = html.read_text()
    assert "<svg" in page
    assert "kvm_gmem_get_file_pfn" in page
    assert "http-equiv" not in page
    assert "<script" not in page
    events = json.loads(trace.read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert {"invalidate_lock:r", "mmu_lock:r"} <= {event["name"] for event in slices}
    assert [event["ts"] for event in slices] == sorted(event["ts"] for event in slices)
    assert {event["tid"] for event in slices} <= {
        event["tid"] for event in events if event["name"] == "thread_name"
    }


def test_a_trace_is_of_one_point(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [*SMALL, "--patch", "v3,inplace", "--trace", str(tmp_path / "a.json")])
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_everything_fits_80_columns() -> None:
    arguments = [
        "--background",
        "convert",
        "--report",
        "summary,locks,sites",
        "--patch",
        "inplace,tracked-shared",
    ]
    done = CliRunner().invoke(command, [*SMALL, *arguments], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "convoy" in done.stdout
    assert "invalidate_lock:r" in done.stdout


@pytest.mark.parametrize("report", ["sites", "perf", "lock_stat"])
def test_reports(report: str) -> None:
    done = CliRunner().invoke(command, [*SMALL, "--background", "convert", "--report", report])
    assert done.exit_code == 0, done.output
    assert "kvm_gmem_" in done.stdout
    assert "faults/ms" not in done.stdout
