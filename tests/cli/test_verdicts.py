"""KTAP and JUnit say what the command says."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.cli.verdicts import Verdict, write_verdicts
from gmemsim.scenarios.conform import load_vectors
from gmemsim.scenarios.conform.suite import EMBEDDED


def test_both_formats(tmp_path: Path) -> None:
    cases = [
        Verdict("one", "passed"),
        Verdict("two # 2", "failed", "expected <0>\ngot -22\x00"),
        Verdict("three", "skipped", "not modelled"),
    ]
    ktap, junit = tmp_path / "out.ktap", tmp_path / "out.xml"
    write_verdicts("conform", cases, 4, ktap=ktap, junit=junit)
    assert ktap.read_text().splitlines() == [
        "KTAP version 1",
        "1..4",
        "ok 1 one",
        "# expected <0>",
        "# got -22\\x00",
        "not ok 2 two % 2",
        "ok 3 three # SKIP not modelled",
        "# the run ended before them",
        "not ok 4 4 not judged",
    ]
    suite = ElementTree.fromstring(junit.read_text())
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")
    failure = suite.find("testcase[@name='two # 2']/failure")
    assert failure is not None
    assert failure.get("message") == "expected <0>\ngot -22?"


def test_stress_fails_where_its_exit_code_does(tmp_path: Path) -> None:
    ktap = tmp_path / "out.ktap"
    words = ["stress", "zoo-poison_punch", "same", "--seeds", "1", "--schedules", "30", "--ktap", str(ktap)]
    result = CliRunner().invoke(cli, [*words, "--arch", "sw-protected"])
    text = ktap.read_text()
    assert result.exit_code == ("not ok" in text)
    assert "ok 1 same, v3, sw-protected, seed 0" in text
    assert "not ok 2 zoo-poison_punch" in text
    assert "(known: memory-failure-against-punch)" in text


def test_conform_counts_what_it_shows(tmp_path: Path) -> None:
    junit = tmp_path / "out.xml"
    ids = [vector.id for vector in load_vectors(*EMBEDDED)[:12]]
    words = ["conform", "--junit", str(junit), *(word for each in ids for word in ("--id", each))]
    result = CliRunner().invoke(cli, [*words, "--json"])
    suite = ElementTree.fromstring(junit.read_text())
    assert result.exit_code == 0
    assert suite.get("failures") == "0"
    assert len(suite) == int(suite.get("tests", "0")) == len(json.loads(result.stdout)["results"]) > 0


def test_a_file_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    patch = tmp_path / "mine.py"
    patch.write_text("")
    result = CliRunner().invoke(cli, ["conform", "--patch", f"{patch}:Mine", "--ktap", str(patch)])
    assert result.exit_code == 2
    assert patch.read_text() == ""
