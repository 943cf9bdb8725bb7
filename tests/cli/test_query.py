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
from gmemsim.audit.kvm_events import FilemapAdd, Prepare, Retry, TdpFault, TdpFaultRet
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
    assert f"breaks off after {len(ENTRIES) - 1} events" in gmem(broken, "counts", "--salvage").stderr


def test_a_folio_is_held_from_its_birth_on(tmp_path: Path) -> None:
    """It is locked when it is added, of which only `filemap_add` tells: whoever waits for it waits for that task."""
    path = tmp_path / "a.jsonl"
    name = "gmem0.folio[3]"
    write_log(
        path,
        [
            (0, "vcpu0", FilemapAdd(3, 500)),
            (5, "vcpu1", Contended(name, "w")),
            (9, "vcpu0", Unlock(name, "w")),
            (10, "vcpu1", Lock(name, "w")),
            (12, "vcpu1", Unlock(name, "w")),
            (20, "vcpu0", FilemapAdd(3, 501)),
            (24, "vcpu0", Unlock(name, "w")),
        ],
    )
    assert rows(path, "SELECT actor, from_t, to_t, ns FROM holds ORDER BY from_seq") == [
        {"actor": "vcpu0", "from_t": 0, "to_t": 9, "ns": 9},
        {"actor": "vcpu1", "from_t": 10, "to_t": 12, "ns": 2},
        {"actor": "vcpu0", "from_t": 20, "to_t": 24, "ns": 4},
    ]
    assert rows(path, "waits") == [
        {"lock": name, "mode": "w", "holder": "vcpu0", "waits": 1, "total_ns": 5, "max_ns": 5}
    ]


def test_the_holds_of_a_run_are_those_that_it_reports(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ran = CliRunner().invoke(cli, ["run", "punch", "--patch", "v3", "--log", str(path), "--json"])
    folio = json.loads(ran.stdout)["locks"]["folio_lock"]["write"]
    assert folio["hold_total"] > 0
    (found,) = rows(path, "SELECT sum(ns) AS held, max(ns) AS longest FROM holds WHERE lock LIKE '%folio%'")
    assert (int(found["held"]), found["longest"]) == (folio["hold_total"], folio["hold_max"])
    (found,) = rows(
        path,
        "SELECT count(*) AS n, count(holder) AS known, sum(ns) AS ns FROM waits WHERE lock LIKE '%folio%'",
    )
    assert found["n"] == found["known"] == folio["contentions"]
    assert int(found["ns"]) == folio["wait_total"]


def test_a_wait_that_was_given_up_has_no_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_log(
        path,
        [
            (0, "w", Lock("l", "w")),
            (1, "k", Contended("l", "w")),
            (2, "k", TdpFault(1)),
            (3, "w", Unlock("l", "w")),
            (90, "k", Lock("l", "w")),
            (95, "k", Lock("l", "w")),
        ],
    )
    assert rows(path, "SELECT ns, holder FROM waits") == [{"ns": None, "holder": "w"}]
    # Of a lock that is taken again before it is given back nothing says how long it was held.
    assert rows(path, "SELECT ns FROM holds WHERE actor = 'k'") == [{"ns": None}, {"ns": None}]


def test_it_says_what_there_is() -> None:
    result = gmem("--list")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in READY)
    assert gmem().exit_code == 2
