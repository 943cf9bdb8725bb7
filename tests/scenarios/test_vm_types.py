"""Which VM types a scenario is for: those of its head, or those that its VMs have; others are refused with a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.cli.program import describe
from gmemsim.cli.stress import _cells
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram
from gmemsim.lab.refusals import vm_type_of
from gmemsim.report.calls import context_of
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build

SCENARIO = """
[scenario]
name = "mine"
summary = "s"
vm_types = ["pkvm"]

[[file]]
id = "g"
pages = 1

[[task]]
name = "t"
ops = [{ op = "punch" }]
"""


def test_no_actor_for_any_vm_type() -> None:
    with pytest.raises(ScenarioError, match="no VM type of pkvm here"):
        build(loads(SCENARIO, "mine.toml"))


HEAD = SCENARIO.replace('vm_types = ["pkvm"]\n', "")


def typed(*types: str) -> str:
    """One VM of each type; `?`: its type is left open."""
    tables = [
        f'[[vm]]\nid = "vm{number}"\n' + (f'type = "{kind}"\n' if kind != "?" else "")
        for number, kind in enumerate(types)
    ]
    return HEAD + "".join(tables)


@pytest.mark.parametrize(
    ("types", "arch", "says"),
    [
        (("snp", "tdx"), None, "snp and tdx"),
        (("tdx", "snp", "tdx"), "snp", "tdx and snp"),
        (("tdx",), None, "tdx"),
        (("snp", "?"), "sw-protected", "snp and sw-protected"),
        (("?", "?"), "sw-protected", "sw-protected"),
        (("pkvm", "snp"), "snp", "pkvm (projection) and snp"),
    ],
)
def test_the_title_names_the_types_of_the_vms(types: tuple[str, ...], arch: str | None, says: str) -> None:
    program = ScenarioProgram(scenario=loads(typed(*types), "mine.toml"), patch="inplace", arch=arch)
    assert describe(program) == f"mine on inplace, {says}, small"
    assert ("VM type", says) in context_of(program.build(FirstRunnable()))


def test_types_that_a_parameter_gives() -> None:
    scenario = loads(f'{typed("$kind")}[parameters]\nkind = "tdx"\n', "mine.toml")
    assert build(scenario, "v3").vm_type == "tdx"
    assert build(scenario, "v3", parameters={"kind": "snp"}).vm_type == "snp"
    program = ScenarioProgram(scenario=scenario, parameters={"kind": "snp"})
    assert describe(program) == "mine on v3, snp, small kind=snp"


def test_the_types_of_the_vms_are_the_only_ones() -> None:
    scenario = loads(typed("tdx", "snp"), "mine.toml")
    assert build(scenario).vm_type == "tdx"
    assert build(scenario, arch="snp").vm_type == "snp"
    for other in ("default", "pkvm"):
        with pytest.raises(ScenarioError, match=f"makes no sense for VM type {other}; it is for: tdx, snp"):
            build(scenario, "inplace", other)
    # The head counts where a VM leaves it open.
    assert build(loads(typed("tdx", "?"), "mine.toml")).vm_type == "default"


@pytest.mark.parametrize(
    ("types", "cells"),
    [
        (("tdx", "snp"), ["tdx"]),
        (("pkvm",), ["pkvm"]),
        (("tdx", "?"), ["default", "sw-protected", "snp", "tdx"]),
    ],
)
def test_stress_asks_for_these(
    types: tuple[str, ...], cells: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(typed(*types))
    assert [cell.arch for cell in _cells(("mine.toml",), ("inplace",), (), range(1), (), ())] == cells


@pytest.mark.parametrize(
    ("types", "chosen"), [(("sw-protected",), "sw-protected"), (("snp",), "snp"), (("snp", "?"), "default")]
)
def test_a_kernel_is_asked_for_these(types: tuple[str, ...], chosen: str) -> None:
    scenario = loads(typed(*types), "mine.toml")
    assert vm_type_of(scenario) == chosen
    assert build(scenario, arch=vm_type_of(scenario)).vm_type == chosen
