"""`gmemsim query`: tables, ready-made queries, Parquet, and what SQL must not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gmemsim.audit.base import Event
from gmemsim.audit.events import Contended, Lock, Unlock
from gmemsim.audit.header import Header
from gmemsim.audit.huge_events import HugeSplit
from gmemsim.audit.kvm_events import Prepare, Retry, TdpFault, TdpFaultRet
from gmemsim.audit.query import READY
from gmemsim.audit.render import write_log
from gmemsim.cli.group import cli

duckdb = pytest.importorskip("duckdb")

ENTRIES: list[tuple[int, str, Event]] = [
    (0, "punch0", Lock("l", "w")),
    (5, "vcpu0", TdpFault(7)),
    (10, "vcpu0", Contended("l", "r")),
    (20, "vcpu1", Contended("l", "r")),
    (30, "punch0", Unlock("l", "w")),
    (35, "vcpu0", Lock("l", "r")),
    (40, "vcpu1", Lock("l", "r")),
    (50, "vcpu0", Prepare(7, 500, 0)),
    (60, "vcpu0", Retry(7, "late")),
    (65, "vcpu0", TdpFaultRet(1)),
    (70, "vcpu0", HugeSplit(0, 512, 9, 0)),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a log's.jsonl.zst"
    write_log(path, ENTRIES, Header("s", "v3", "snp", 0))
    return path


def gmem(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["query", *map(str, arguments)])


def rows(*arguments: object) -> Any:
    result = gmem(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_waits_by_lock_and_holder(log: Path) -> None:
    assert rows(log, "waits") == [
        {"lock": "l", "mode": "r", "holder": "punch0", "waits": 2, "total_ns": 45, "max_ns": 25}
    ]


def test_prepares_retries_and_faults(log: Path) -> None:
    assert rows(log, "prepares") == [
        {"pfn": 500, "gfn": 7, "index": None, "prepares": 1, "clears": 0, "uptodate": 0}
    ]
    assert rows(log, "retries") == [{"reason": "late", "actor": "vcpu0", "retries": 1}]
    assert rows(log, "faults")[0]["max_ns"] == 60


@pytest.mark.parametrize("name", READY)
def test_every_ready_made_query_has_an_answer(log: Path, name: str) -> None:
    assert gmem(log, name).exit_code == 0


def test_sql_of_ones_own_and_parquet(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert rows(log, "SELECT actor, count(*) AS n FROM events GROUP BY 1 ORDER BY 1", "--parquet", out)[0] == {
        "actor": "punch0", "n": 2,
    }  # fmt: skip
    assert duckdb.sql(f"SELECT sum(n) FROM '{out}'").fetchall() == [(len(ENTRIES),)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO 'x.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELEC",
        "SELECT nothing FROM events",
    ],
)
def test_what_is_refused_is_one_line(log: Path, sql: str) -> None:
    result = gmem(log, sql)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not result.stdout


def test_a_damaged_log_is_refused_and_a_broken_one_salvaged(log: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b.jsonl"
    write_log(broken, ENTRIES)
    broken.write_bytes(broken.read_bytes()[:-60])
    assert gmem(broken, "counts").exit_code == 2
    assert rows(broken, "SELECT count(*) AS n FROM events", "--salvage") == [{"n": len(ENTRIES) - 1}]


def test_it_says_what_there_is() -> None:
    result = gmem("--list")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in READY)
    assert gmem().exit_code == 2
