"""Every scenario of the library, on every patch version and VM type it is for, on both runtimes."""

import itertools
from typing import Any

import msgspec
import pytest

from gmemsim.engine.strategy import RandomStrategy, ReplayStrategy, Strategy
from gmemsim.engine.tape import Tape
from gmemsim.engine.task import Task
from gmemsim.oracles import Oracles
from gmemsim.patches.registry import PATCHES
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.options import Options, Runtime
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import Session, arches, build

#: Recorded workloads of the traces, each of which has its scenario.
RECORDED = {
    "same", "disjoint", "prepop", "prefault", "punch", "punch_tight", "punchonly", "hot1", "alloc_punch",
    "mmap_h1", "mmap_h2", "mmap_h4", "mmap_punch", "conv1", "conv2", "conv1punch", "conv1_punch1",
}  # fmt: skip


def combinations() -> list[tuple[str, str]]:
    return [(name, kind) for name in names() for kind in load_named(name).head.vm_types if kind in arches()]


def stream(runtime: Runtime, exploring: bool, **arguments: Any) -> tuple[bytes, Session]:
    """The whole event stream of a run, setup included, as bytes."""
    encoder = msgspec.json.Encoder()
    lines: list[bytes] = []

    def rec(task: Task, event: Any) -> None:
        lines.append(encoder.encode((task.engine.now, task.name, event)))

    strategy = RandomStrategy(7) if exploring else None
    options = Options(
        rec=rec,
        strategy=strategy,
        checker=lambda world, kernel: Oracles(world, kernel, collect=True),
        max_steps=200_000,
        max_virtual_ns=10**10,
    )
    session = build(**arguments, small=True, options=options).run(runtime)
    return b"\n".join(lines), session


@pytest.mark.parametrize(("name", "kind"), combinations())
def test_both_runtimes_give_the_same_events(name: str, kind: str) -> None:
    """And no oracle objects to them."""
    scenario = load_named(name)
    for patch, exploring in itertools.product(PATCHES, (False, True)):
        bare, session = stream("bare", exploring, scenario=scenario, patch=patch, arch=kind, seed=1)
        trio, other = stream("trio", exploring, scenario=scenario, patch=patch, arch=kind, seed=1)
        assert bare == trio, (patch, exploring)
        assert bare
        summary = session.summary()
        assert summary.violations == (), (patch, exploring)
        assert summary == other.summary()
        assert all(task.done for task in session.tasks.values())


@pytest.mark.parametrize("name", ["same", "punch", "conv1", "signals", "populate_mmap_lock"])
def test_a_recorded_tape_gives_the_same_run_on_the_other_runtime(name: str) -> None:
    scenario = load_named(name)
    kind = scenario.head.vm_types[0]
    logs: list[list[tuple[str, Any]]] = []

    def recorded(strategy: Strategy, runtime: Runtime) -> Session:
        log: list[tuple[str, Any]] = []
        logs.append(log)
        options = Options(rec=lambda task, event: log.append((task.name, event)), strategy=strategy)
        return build(scenario, "v2", kind, small=True, options=options).run(runtime)

    for seed in range(3):
        first = recorded(RandomStrategy(seed), "bare")
        again = recorded(ReplayStrategy(first.engine.tape), "trio")
        assert logs[-2] == logs[-1]
        assert first.engine.tape.raw == again.engine.tape.raw


def test_choices_survive_when_another_operation_is_taken_out() -> None:
    text = load_named("same").source.text.replace('repeat = "$rounds"\n', "")
    kept = '{ op = "prefault", id = 1 }, %s{ op = "read", id = 3 }]'
    head = text[: text.index("ops = [")] + "ops = ["

    def choices(ops: str, strategy: Strategy) -> dict[tuple[str, int, str], list[int]]:
        session = build(
            loads(head + ops), "v3", "default", vcpus=2, small=True, options=Options(strategy=strategy)
        )
        found: dict[tuple[str, int, str], list[int]] = {}
        for choice in session.run().engine.tape.choices:
            found.setdefault(choice[:3], []).append(choice.value)
        tapes.append(session.engine.tape)
        return found

    tapes: list[Tape] = []
    for seed in range(5):
        long = choices(kept % '{ op = "punch", id = 2 }, ', RandomStrategy(seed))
        short = choices(kept % "", ReplayStrategy(tapes[-1], strict=False))
        assert any(call == 3 for _task, call, _label in short)
        for key, values in short.items():
            recorded = long.get(key, [])
            count = min(len(values), len(recorded))
            # A bound can be smaller than it was, and what was never recorded is 0.
            assert all(value <= was for value, was in zip(values, recorded, strict=False))
            assert values[count:] == [0] * (len(values) - count)


@pytest.mark.parametrize("name", names())
def test_the_full_size_runs_too(name: str) -> None:
    """With the parameters of the file; long loops are cut to keep the suite quick."""
    scenario = load_named(name)
    cut = {
        key: min(int(value), 6)
        for key, value in scenario.parameters.items()
        if key in {"rounds", "conversions"}
    }
    kind = next(kind for kind in scenario.head.vm_types if kind in arches())
    session = build(scenario, "v3", kind, parameters=cut, options=Options(max_virtual_ns=10**10)).run()
    assert session.summary().violations == ()
    assert session.summary().events


def test_the_library_covers_the_recorded_workloads() -> None:
    assert set(names()) >= RECORDED


@pytest.mark.parametrize("name", names())
def test_every_scenario_says_what_it_is_for(name: str) -> None:
    scenario = load_named(name)
    assert scenario.name == name
    assert scenario.head.vm_types
    assert scenario.head.question.strip()
    assert scenario.small, "a form to explore"


def test_the_scenarios_use_every_operation() -> None:
    """Those of the library, and those of the zoo for what every version refuses."""
    from gmemsim.scenarios import own
    from gmemsim.scenarios.catalogue import zoo_names
    from gmemsim.scenarios.ops import OPS

    used: set[str] = set()
    for name in (*names(), *zoo_names()):
        workload = load_named(name).resolve()
        steps = [
            *workload.launch,
            *workload.setup,
            *(step for actor in workload.actors for step in actor.steps),
        ]
        used |= {step.op.name for step in steps}
    assert used == set(OPS) - set(own._own)  # a test before this one may have made some known
