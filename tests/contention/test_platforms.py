"""Full cost tables in storms: every entry is charged somewhere, and a far socket, a line and a lock show."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from click.testing import CliRunner

import gmemsim
from gmemsim.arch.cost_file import load_costs
from gmemsim.arch.costs import CostTable
from gmemsim.arch.platform_costs import PlatformCosts
from gmemsim.cli.run import command
from gmemsim.contention.machine import StormMachine
from gmemsim.contention.point import Point, PointError, check
from gmemsim.contention.storm import measure, run
from gmemsim.engine import trio_runtime

MILAN = Point("v3", "snp", "first-touch", vcpus=4, pages=256, costs="milan")
#: Where each entry of the full table is charged.
CHARGED = {
    "line_remote": attrs.evolve(MILAN, sockets=2, pages=64),
    "atomic": attrs.evolve(MILAN, pages=16),
    "rwsem": attrs.evolve(MILAN, patch="tracked", pages=16),
    "mutex": attrs.evolve(MILAN, storm="populate", pages=16),
    "spinlock": attrs.evolve(MILAN, pages=16),
    "folio_lock": attrs.evolve(MILAN, pages=16),
    "srcu": attrs.evolve(MILAN, pages=16),
    "ipi_receive": attrs.evolve(MILAN, arch="tdx", storm="refault", background="convert", pages=512),
    "xa_store": attrs.evolve(MILAN, pages=16),
    "xa_delete": attrs.evolve(MILAN, storm="punch", pages=16),
    "pcp_refill": MILAN,
    "hugetlb_lock": attrs.evolve(MILAN, patch="hugepage", folio="2M", arch="sw-protected", pages=8),
    "memcg_charge": attrs.evolve(MILAN, pages=16),
    "lru_add": MILAN,
}
HUGE = attrs.evolve(MILAN, patch="hugepage", folio="2M", arch="sw-protected", pages=8)


def test_every_entry_is_looked_at() -> None:
    assert set(CHARGED) == set(PlatformCosts.names()) - set(CostTable.names())


@pytest.mark.parametrize("name", [*CHARGED, "alloc_2m", "clear_2m"])
def test_every_entry_is_charged(name: str) -> None:
    point = CHARGED.get(name, HUGE)
    table = load_costs("milan").table(point.arch)
    more = table.replace(**{name: getattr(table, name) + 1000})
    assert run(point, more).latency_total > run(point, table).latency_total


def test_the_generic_table_charges_none_of_it() -> None:
    result = run(attrs.evolve(MILAN, costs="generic"))
    assert not any(name in key for key in result.locks for name in ("i_pages", "zone_lock", "lruvec_lock"))
    assert not any(name.startswith("cache line") for name in result.spins)


def test_the_short_locks_of_mm_are_in_the_tables() -> None:
    result = run(attrs.evolve(MILAN, vcpus=16, pages=1024, arch="sw-protected"))
    assert result.locks["i_pages:w"].acquisitions == 1024
    assert result.locks["i_pages:w"].contentions
    assert 12 <= result.locks["zone_lock:w"].acquisitions <= 34
    assert ("spinlock", "__filemap_add_folio") in {(row.type, row.caller) for row in result.perf}


def test_the_second_socket_is_farther() -> None:
    one, two = (
        run(attrs.evolve(MILAN, storm="refault", patch="inplace", vcpus=16, sockets=n)) for n in (1, 2)
    )
    assert two.virtual_ns > one.virtual_ns


def test_a_line_can_be_the_bottleneck() -> None:
    result = run(
        attrs.evolve(MILAN, patch="inplace", arch="sw-protected", storm="refault", vcpus=64, pages=1024)
    )
    assert "cache line" in result.bottleneck.name


@pytest.mark.parametrize(
    ("point", "says"),
    [
        (attrs.evolve(MILAN, costs="generic", sockets=2), "know no distance"),
        (attrs.evolve(MILAN, sockets=9), "expected 1 to 8"),
        (attrs.evolve(MILAN, other_lines=True), "charges them already"),
        (attrs.evolve(MILAN, costs="rome"), "no cost table"),
    ],
)
def test_what_does_not_go_together_is_one_line(point: Point, says: str) -> None:
    with pytest.raises(PointError, match=says):
        check(point)


def test_interrupts_of_the_setup_are_not_the_storms() -> None:
    """A TD's conversions in the setup kick every vCPU for each page; the first fault of the storm does not pay that."""
    result = run(Point("v3", "tdx", "refault", "none", 4, 256, costs="full"))
    assert result.longest < 3 * result.p50


@pytest.mark.parametrize("storm", ["refault", "punch"])
def test_both_runtimes_give_the_same_figures(storm: str) -> None:
    point = attrs.evolve(
        MILAN, patch="inplace", storm=storm, sockets=2, vcpus=5, pages=40, seed=2, background="convert"
    )
    bare, other = (StormMachine(point, load_costs("milan").table("snp")) for _ in range(2))
    other.runtime = lambda engine: trio.run(trio_runtime.run, engine)
    assert measure(bare).document() == measure(other).document()


def test_a_scenario_takes_a_cost_table_too() -> None:
    """`gmemsim run --costs milan` and `gmemsim.run(costs="milan")`: the same machine, its short locks."""
    plain, milan = (gmemsim.run("hole", "v3", costs=costs) for costs in (None, "milan"))
    assert milan.summary()["virtual_ns"] > plain.summary()["virtual_ns"]
    assert "i_pages" in {row.name for row in milan.session.locks()}
    assert "i_pages" not in {row.name for row in plain.session.locks()}
    done = CliRunner().invoke(command, ["hole", "--costs", "milan", "--json"])
    assert json.loads(done.output)["virtual_ns"] == milan.summary()["virtual_ns"]
    wrong = CliRunner().invoke(command, ["hole", "--costs", "rome"])
    assert wrong.exit_code == 2
    assert "no cost table" in wrong.output
