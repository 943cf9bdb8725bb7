"""What `gmemsim bench contention` says of its runs, where it could say more than they show."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from gmemsim.cli.bench import command
from gmemsim.contention import trace
from gmemsim.contention.point import Point
from gmemsim.contention.result import Bottleneck
from gmemsim.contention.storm import run
from gmemsim.contention.sweep import points

STORM = ("contention", "--arch", "sw-protected", "--patch", "v3,inplace", "--vcpus", "2", "--pages", "8")


def bench(*arguments: str) -> str:
    done = CliRunner().invoke(command, [*STORM, *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def _first_rows(text: str) -> list[tuple[str, list[float]]]:
    """Heading of each table of a sweep, with the numbers of its default corner."""
    found = []
    for part in text.split(": throughput")[1:]:
        row = next(line for line in part.splitlines() if line.strip().startswith("default"))
        found.append((part, [float(number.replace(",", "")) for number in re.findall(r"[\d,.]*\d", row)]))
    return found


def test_a_sweep_compares_what_its_title_names() -> None:
    """Each background has its own figures, and each version its own column, with more seeds than one."""
    tables = _first_rows(bench("--storm", "refault", "--background", "convert,none", "--sweep"))
    alone = [
        [found.faults_per_ms for found in map(run, points_of(background))]
        for background in ("convert", "none")
    ]
    assert [row for _, row in tables] == [[round(base, 1), round(other / base, 3)] for base, other in alone]
    text = bench("--storm", "refault", "--sweep", "--seeds", "2")
    assert "means of 2 seeds" in re.sub(r"\s+", " ", text)
    # Rate, ratio, and half an interval of each.
    assert [len(row) for _, row in _first_rows(text)] == [4]


def points_of(background: str) -> list[Point]:
    return points(
        patches=["v3", "inplace"],
        arches=["sw-protected"],
        storms=["refault"],
        backgrounds=[background],
        vcpus=[2],
        common=Point(pages=8),
    )


def test_what_is_named_twice_is_no_sample() -> None:
    text = bench("--storm", "refault", "--patch", "v3,v3", "--vcpus", "2,2", "--report", "summary")
    assert "seeds" not in text
    assert "±" not in text


def test_a_window_whose_units_all_end_late_is_not_steady() -> None:
    found = run(Point("v3", "sw-protected", "refault", vcpus=4, pages=8, warmup=90))
    assert (found.first_half, found.faults) == (0, 4)
    assert found.drift is None
    assert found.document()["drift"] is None
    assert "Not steady: in 2 of 2 runs" in bench(
        "--storm", "refault", "--warmup", "90", "--report", "summary"
    )


def test_what_is_waited_for_is_said_of_all_seeds() -> None:
    """One seed waits for a spin, the other longer for a lock."""
    one = run(Point("v3", "sw-protected", "memory-failure", vcpus=4, pages=8))
    other = attrs.evolve(one, locks={}, spins={"rmp.spin": one.lock("mf_mutex:w").wait_total // 2})
    assert Bottleneck.of([other]).name == other.bottleneck.name == "rmp.spin"
    both = Bottleneck.of([other, one])
    assert both.name == "mf_mutex:w"
    assert both.share == one.bottleneck.share / 2


def test_nothing_contended_is_said() -> None:
    assert "nothing was contended" in bench("--storm", "refault", "--report", "perf", "--patch", "v3")


def test_a_trace_that_is_cut_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (
        "--storm",
        "refault",
        "--patch",
        "v3",
        "--report",
        "perf",
        "--trace",
        str(tmp_path / "t.json"),
    )
    assert "left out" not in bench(*arguments)
    monkeypatch.setattr(trace, "_MOST", 5)
    assert re.search(r"t\.json: \d+ later slices and instants are left out", bench(*arguments))


def test_the_axis_has_the_unit_of_the_storm(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bench("--storm", "convert,refault", "--plot", str(tmp_path / "a.svg"), "--report", "perf")
    text = (tmp_path / "a.svg").read_text()
    assert text.count("conversions per virtual ms") == text.count("faults per virtual ms") > 0


def test_no_input_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('base = "full"\n[cost]\nline = 50\n')
    Path("kept.state").write_text("")
    for option, name in (("--costs", "mine.toml"), ("--state", "kept.state")):
        done = CliRunner().invoke(command, [*STORM, option, name, "--csv", name])
        assert done.exit_code == 2
        assert "is what the command reads" in done.output


def test_options_that_change_nothing_are_refused() -> None:
    for arguments in (["--interval", "5"], ["--tdx-module", "1.0"], ["--sweep", "--report", "locks"]):
        assert CliRunner().invoke(command, [*STORM, *arguments]).exit_code == 2
    module = Point(arch="snp", tdx_module="1.0"), Point(arch="tdx", tdx_module="1.0")
    assert ["TDX module 1.0" in point.setting for point in module] == [False, True]


def test_that_no_rule_looks_on_is_said() -> None:
    """A version that forgets to clear is only faster here."""
    assert "No rule looks on in a storm" in bench()
