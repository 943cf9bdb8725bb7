"""Cost tables as files: machines with evidence, a user's own, and one line for what is wrong in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.arch.cost_file import GENERIC, PLATFORMS, CostFileError, load_costs
from gmemsim.arch.costs import CostTable, Evidence
from gmemsim.arch.platform_costs import CHARGED, NEVER_CHARGED, PlatformCosts, uncharged

if TYPE_CHECKING:
    from pathlib import Path

ARCHES = ("default", "sw-protected", "snp", "tdx", "pkvm")


@pytest.mark.parametrize("arch", ARCHES)
def test_generic_is_the_table_that_everything_else_uses(arch: str) -> None:
    assert load_costs("generic") is GENERIC
    assert GENERIC.table(arch) == CostTable.default(arch)
    assert type(GENERIC.table(arch)) is CostTable


@pytest.mark.parametrize("arch", ["default", "sw-protected", "snp", "tdx", "pkvm"])
@pytest.mark.parametrize("name", ["full", *PLATFORMS])
def test_a_machine_has_evidence_for_every_entry(name: str, arch: str) -> None:
    costs = load_costs(name)
    assert costs.name == name
    rows = costs.rows(arch)
    assert [entry for entry, _, _ in rows] == list(PlatformCosts.names())
    for entry, value, why in rows:
        assert why.source, entry
        assert why.confidence in "ABCDE"
        assert why.low <= value <= why.high, entry
    assert isinstance(costs.table("tdx"), PlatformCosts)


def test_what_a_file_says_of_a_vm_type_has_its_own_source(tmp_path: Path) -> None:
    own = 'line = { value = 300, low = 280, high = 400, source = "our lab", confidence = "A" }'
    name = write(tmp_path, f'base = "milan"\n[cost.snp]\n{own}\nwake = 9\n')
    by_arch = {
        arch: {entry: (value, why) for entry, value, why in load_costs(name).rows(arch)}
        for arch in ("snp", "tdx")
    }
    assert by_arch["snp"]["line"] == (300, Evidence(280, 400, "our lab", "A"))
    assert by_arch["snp"]["wake"][1].source == f"{name}: no source given"
    assert by_arch["tdx"]["line"] == next(
        (v, w) for n, v, w in load_costs("milan").rows("tdx") if n == "line"
    )


def test_machines_differ() -> None:
    tables = [load_costs(name).table("snp") for name in PLATFORMS]
    assert len({(table.line, table.line_remote) for table in tables if isinstance(table, PlatformCosts)}) == 3


def test_what_is_not_charged_is_said() -> None:
    assert uncharged(CostTable()) == (*CHARGED, *NEVER_CHARGED)
    assert uncharged(PlatformCosts()) == NEVER_CHARGED


def write(path: Path, text: str) -> str:
    file = path / "my.toml"
    file.write_text(text)
    return str(file)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    name = write(
        tmp_path,
        """
        title = "My box"
        base = "milan"
        [cost]
        line = 60
        xa_store = { value = 200, low = 100, high = 250, source = "perf", confidence = "C" }
        [cost.snp]
        fault_entry = 2100
        """,
    )
    costs = load_costs(name)
    table = costs.table("snp")
    assert isinstance(table, PlatformCosts)
    assert (table.line, table.xa_store, table.fault_entry) == (60, 200, 2100)
    assert costs.table("tdx").fault_entry == CostTable.default("tdx").fault_entry
    assert table.clear_4k == load_costs("milan").table("snp").clear_4k
    why = costs.evidence["xa_store"]
    assert (why.low, why.high, why.source, why.confidence) == (100, 250, "perf", "C")
    assert costs.title == "My box"


def test_a_file_can_keep_to_the_generic_table(tmp_path: Path) -> None:
    costs = load_costs(write(tmp_path, 'base = "generic"\n[cost]\nline = 60\n'))
    assert costs.table("default") == CostTable().replace(line=60)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("line = 60\n", "my.toml:1: line: no such key (costs stand below [cost]); expected one of"),
        ("[cost]\n\nlin = 60\n", "my.toml:3: cost.lin: no such cost; did you mean line"),
        (
            "[cost]\nline = -1\n",
            "my.toml:2: cost.line: value: expected a whole number of ns, 0 or more, got -1",
        ),
        (
            "[cost]\nline = 1.5\n",
            "my.toml:2: cost.line: value: expected a whole number of ns, 0 or more, got 1.5",
        ),
        ("[cost]\nline = true\n", "my.toml:2: cost.line: value: expected a whole number"),
        ("[cost]\nline = 99999999999999999999\n", "my.toml:2: cost.line: value: expected a whole number"),
        ("[cost]\nline = { low = 1 }\n", "my.toml:2: cost.line: expected a value, in ns"),
        ("[cost]\nline = { value = 9, low = 10 }\n", "my.toml:2: cost.line: expected low <= value <= high"),
        ("[cost]\nline = { value = 9, size = 10 }\n", "my.toml:2: cost.line: 'size'"),
        ("[cost]\nline = { value = 9, confidence = 'Z' }\n", "my.toml:2: cost.line: confidence 'Z'"),
        ("[cost]\nline = { value = 9, source = 3 }\n", "my.toml:2: cost.line: source: expected a text"),
        ('base = "rome"\n', "my.toml:1: base: 'rome'"),
        ("base = 3\n", "my.toml:1: base: 3"),
        ("title = 3\n", "my.toml:1: title: expected a text"),
        ("cost = 3\n", "my.toml:1: cost: expected a table"),
        ("[cost]\nsnp = 3\n", "my.toml:2: snp: expected a table, [cost.snp]"),
        ("[cost.snp]\nlin = 3\n", "my.toml:2: cost.snp.lin: no such cost"),
        (
            'base = "generic"\n[cost]\nxa_store = 3\n',
            'my.toml:3: cost.xa_store: not charged with base = "generic"',
        ),
        ("[cost\n", "my.toml: not TOML: "),
        ("[" * 5000, "my.toml: not TOML: "),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CostFileError) as error:
        load_costs(write(tmp_path, text))
    message = str(error.value)
    assert says in message
    assert "\n" not in message


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CostFileError, match="no cost table; did you mean milan"):
        load_costs("milann")
    with pytest.raises(CostFileError, match="No such file"):
        load_costs(str(tmp_path / "none.toml"))
    (tmp_path / "d.toml").mkdir()
    with pytest.raises(CostFileError, match="directory"):
        load_costs(str(tmp_path / "d.toml"))
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CostFileError, match="not a text in UTF-8"):
        load_costs(str(tmp_path / "b.toml"))
