"""What is offered to a storm: closed with think time, open at a rate; and what is named when no lock is waited for."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
import pytest

from gmemsim.arch.cost_file import load_costs
from gmemsim.contention.point import Point, PointError, check
from gmemsim.contention.storm import run

ALONE = Point("v3", "sw-protected", "first-touch", "none", 1, 64)


def test_a_closed_load_thinks_between_units() -> None:
    back_to_back, thinks = run(ALONE), run(attrs.evolve(ALONE, think_ns=5000))
    assert thinks.span_ns == back_to_back.span_ns + 64 * 5000
    assert thinks.p50 == back_to_back.p50


def test_think_time_is_drawn_with_a_seed() -> None:
    drawn = [
        run(attrs.evolve(ALONE, pages=512, think_ns=5000, seed=seed, jitter_ns=0, spread_ns=0))
        for seed in (1, 2)
    ]
    assert drawn[0].span_ns != drawn[1].span_ns
    for result in drawn:
        think = (result.span_ns - result.latency_total) / 512
        assert 0.85 < think / 5000 < 1.15


def test_an_open_load_that_is_light_waits_for_nobody() -> None:
    light = run(attrs.evolve(ALONE, load=10))
    # One every 100 µs: the last is due at 6.4 ms, and nobody waits for the one before it.
    assert light.longest == run(ALONE).longest
    assert light.span_ns == 64 * 100_000 + light.p50


def test_an_open_load_beyond_capacity_queues_up() -> None:
    service = run(ALONE).p50
    heavy = run(attrs.evolve(ALONE, load=round(2e6 / service)))
    due = round(1e6 / round(2e6 / service))
    # Lindley's recursion of a queue in which everybody comes `due` after the one before and is served for `service`.
    waits = [max(0, number * (service - due)) for number in range(64)]
    assert heavy.longest - (waits[-1] + service) in range(-10_000, 10_000)
    assert heavy.latency_total > sum(waits)


def test_an_open_load_with_a_seed_is_a_poisson_stream_into_one_server() -> None:
    """M/D/1: arrivals drawn as the storm draws them, the service of a fault alone."""
    point = attrs.evolve(ALONE, pages=400, load=300, seed=3, spread_ns=0, patch="baseline")
    draw = Random("3:vcpu0")
    service = run(attrs.evolve(point, load=0, seed=0)).p50
    due = end = 0
    latencies = []
    for _ in range(400):
        due += round(draw.expovariate(1 / 3333))
        end = max(end, due) + service
        latencies.append(end - due)
    found = run(point)
    assert found.latency_total == sum(latencies)
    assert found.p50 == sorted(latencies)[199]
    assert found.longest == max(latencies)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"think_ns": 5, "load": 5}, "not both"),
        ({"think_ns": -5}, "must not be negative"),
        ({"load": -5}, "must not be negative"),
        ({"tdx_module": "2.0"}, "TDX module '2.0': expected one of 1.0, 1.5"),
    ],
)
def test_what_makes_no_sense_is_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PointError, match=says):
        check(attrs.evolve(ALONE, **changes))


def test_a_kick_takes_time_from_guests_that_think() -> None:
    """A punch of one file's pages flushes the TLBs of vCPUs that run guest code; those in the host are left alone."""
    point = Point(
        "v3", "sw-protected", "first-touch", "punch", 4, 64, costs="milan", think_ns=50_000, interval_ns=3000
    )
    table = load_costs("milan").table("sw-protected")
    slow = table.replace(ipi_receive=100_000)
    assert run(point, slow).span_ns > run(point, table).span_ns
    busy = attrs.evolve(point, think_ns=0)
    assert run(busy, slow).span_ns == run(busy, table).span_ns


def test_rmpupdate_is_named() -> None:
    found = run(Point("v3", "snp", "first-touch", "none", 32, 512)).bottleneck
    assert found.name == "rmp.spin"
    assert found.share > 0.5
    assert "RMPUPDATE" in found.MEANINGS[found.name]


@pytest.mark.parametrize("vcpus", [1, 16])
def test_operand_busy_is_named(vcpus: int) -> None:
    """Module 1.0 takes the S-EPT tree lock exclusively for AUG; nobody sleeps or spins on it, faults are repeated."""
    point = Point("v3", "tdx", "accept", "none", vcpus, 256)
    old, new = (run(attrs.evolve(point, tdx_module=module)) for module in ("1.0", "1.5"))
    assert not new.bottleneck.name
    if vcpus == 1:
        assert (old.span_ns, old.bottleneck.name) == (new.span_ns, "")
        return
    assert old.span_ns > 2 * new.span_ns
    assert old.bottleneck.name == "vm0.sept_tree.retry"
    assert "TDX_OPERAND_BUSY" in old.bottleneck.MEANINGS[old.bottleneck.name]
    assert old.bottleneck.share > 0.3
    assert old.waste.retries["busy"] > 256


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"load": 5_000_000, "seed": 1}, "at most 10,000 a ms and thread"),
        ({"think_ns": 10**20}, "think time of at most a second"),
        ({"interval_ns": 10**20, "background": "punch"}, "interval of at most an hour"),
    ],
)
def test_times_that_cannot_be_counted_are_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(PointError, match=text):
        run(attrs.evolve(ALONE, **more))
    check(attrs.evolve(ALONE, load=20_000, vcpus=2, seed=1))
