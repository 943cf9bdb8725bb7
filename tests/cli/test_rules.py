"""`gmemsim list rules` and `gmemsim explain`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.group import cli
from gmemsim.oracles import own
from gmemsim.oracles.effects import EFFECTS
from gmemsim.oracles.every_rule import EVERY_RULE, UnknownRule, left_out
from gmemsim.oracles.rules import RULES

TWO = """
[scenario]
name = "two"
summary = "two faults on one page"
vm_types = ["snp"]

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x100

[[task]]
role = "vcpu"
instances = 2
ops = [{ op = "prefault" }]
"""


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def test_the_list_has_every_rule_with_its_kind() -> None:
    rows = {row["name"]: row for row in json.loads(call("list", "rules", "--json").output)}
    assert set(rows) == set(EVERY_RULE) > set(RULES)
    assert {rows[name]["kind"] for name in ("I33", "I36", "I54", "guarded_by")} == {"choice"}
    assert {rows[name]["kind"] for name in ("I32", "I19", "deadlock", "arch:TLB_STALE")} == {"harm"}


def test_every_rule_says_what_comes_of_breaking_it() -> None:
    # Without those that a test before this one has made known.
    assert set(EFFECTS) == {name for name in own._OURS if not name.startswith("arch:")}


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("I33", ("kind: choice", "kvm_gmem_get_pfn", "I32", "versions: all")),
        ("I23", ("kind: choice", "not on baseline, v1, v2, v3", "inplace-v8, inplace")),
        ("deadlock", ("kind: harm", "the engine", "memory-failure-against-punch")),
    ],
)
def test_one_is_explained(rule: str, parts: tuple[str, ...]) -> None:
    result = call("explain", rule)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert [part for part in parts if part not in text] == []


def test_as_json() -> None:
    found = json.loads(call("explain", "I37", "--json").output)
    assert found["kind"] == "choice"
    assert "baseline" in found["does_not_apply"]
    assert "v3" in found["versions"]
    assert found["checks"] == ["Populating.no_gup_under_lock", "Populating.no_mmap_lock_under_lock"]


@pytest.mark.parametrize(
    ("asked", "near"), [("i33", "I33"), ("deadlok", "deadlock"), ("tlb_stale", "arch:TLB")]
)
def test_an_unknown_one_gets_the_nearest_names(
    capsys: pytest.CaptureFixture[str], asked: str, near: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["explain", asked], prog_name="gmemsim")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert near in error
    assert error.count("\n") == 1


def test_what_can_be_left_out() -> None:
    assert left_out("I33, I36") == {"I33", "I36"}
    assert left_out(["arch:TLB_STALE"]) == {"arch:TLB_STALE"}
    with pytest.raises(UnknownRule, match="no rule 'I3x'"):
        left_out("I33,I3x")
    with pytest.raises(UnknownRule, match="deadlock cannot be left out"):
        left_out("deadlock")


def test_explore_without_a_rule(tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text(TWO)
    patch = "v3+prepare-outside-folio-lock"
    search = ("explore", str(file), "--patch", patch, "--strategy", "random", "--no-cycles", "--no-shrink")
    both = json.loads(call(*search, "--json").output)
    assert (both["violation"]["rule"], both["violation"]["kind"]) == ("I32", "harm")
    assert [(each["rule"], each["kind"]) for each in both["others"]] == [("I33", "choice")]
    assert (both["broken_choices"], both["without"]) == (["I33"], [])
    text = call(*search, "--max-schedules", "20", "--without", "I33,I32", "--without", "I35,I31").output
    assert "--without asks: I31 to I33, I35" in " ".join(text.split())
    assert "restates a choice" not in text
    result = call("outcomes", str(file), "--patch", patch, "--strategy", "random", "--max-schedules", "20")
    assert "I33 restates a choice of lock or order" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "command", [("explore", "same"), ("outcomes", "same", "--patch", "v3"), ("stress", "same")]
)
def test_an_unknown_rule_cannot_be_left_out(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--without", "I3x"], prog_name="gmemsim")
    assert end.value.code == 2
    assert "--without: no rule 'I3x'; did you mean" in capsys.readouterr().err
