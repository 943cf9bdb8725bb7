"""The inner loops in C come to what those in Python come to, and only those of the present source are taken."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from asyncio import sleep
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from random import Random
from shutil import copytree, ignore_patterns
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.explore.strategies.micro_programs import FLAVOURS, micro_program

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.state import compile as compiling
from gmemsim.explore.state import quick
from gmemsim.explore.state.contents import UNSET
from gmemsim.explore.state.coroutines import Image, chain_of, drop, held_by, supported
from gmemsim.explore.state.iterators import NotRestorable
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType

    from gmemsim.explore.runs import Program

pytestmark = pytest.mark.skipif(not supported(), reason="coroutines cannot be put back on this interpreter")


class Node(NamedTuple):
    text: int
    refers: tuple[int, ...]
    mark: int = 0
    views: tuple[tuple[int, tuple[int, ...]], ...] = ()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module, compiled now."""
    try:
        path = compiling.build(tmp_path_factory.mktemp("quick"))
    except OSError as error:
        pytest.skip(f"nothing to compile with: {error}")
    loader = ExtensionFileLoader("gmemsim.explore.state._quick", str(path))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def either(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType | None], None]:
    """Switches to the functions of a module, or to those in Python."""

    def switch(module: ModuleType | None) -> None:
        plain: dict[str, Any] = {
            "texts": quick._texts, "meet": quick._meet, "write": quick._write, "write_frame": quick._write_frame,
            "fresh": quick._fresh, "unusual": quick._unusual,
            "chain_of": None, "changed": None, "drop": None, "held_by": None, "offsets": None, "put_back": None,
            "suspended": None,
        }  # fmt: skip
        for name, function in plain.items():
            monkeypatch.setattr(quick, name, function if module is None else getattr(module, name))
        monkeypatch.setattr(quick, "COMPILED", module is not None)

    return switch


def said(draw: Random, size: int) -> tuple[int, tuple[int, ...]]:
    return draw.randrange(9), tuple(draw.randrange(size) for _ in range(draw.randrange(4)))


def graph(draw: Random) -> list[Any]:
    size = draw.randint(1, 30)
    return [Node(*said(draw, size), views=(said(draw, size), said(draw, size))) for _ in range(size)]


@pytest.mark.parametrize("seed", range(50))
def test_nodes_are_met_in_the_same_order(compiled: ModuleType, seed: int) -> None:
    draw = Random(seed)
    known = graph(draw)
    roots = [draw.randrange(len(known)) for _ in range(3)]
    results = []
    for meet, texts in ((quick._meet, quick._texts), (compiled.meet, compiled.texts)):
        for view in (-1, 0, 1):
            nodes, shape, place = meet(roots, None, known, known.__getitem__, view)
            below = [meet([one, 0], place, known, known.__getitem__, view) for one in range(len(known))]
            assert all(one[2] is None for one in below)
            rows = [row for row, _, _ in below]
            results.append((nodes, shape, below, texts(known, nodes, rows, view)))
    assert results[:3] == results[3:]


def test_a_node_that_is_not_known_is_worked_out(compiled: ModuleType) -> None:
    for meet in (quick._meet, compiled.meet):
        asked: list[int] = []

        def work_out(number: int, asked: list[int] = asked) -> Node:
            asked.append(number)
            return Node(7, ())

        assert meet([0], None, [Node(1, (1, 1)), None], work_out, -1)[0] == array("i", [0, 1]).tobytes()
        assert asked == [1]
    with pytest.raises(ZeroDivisionError):
        compiled.meet([0], None, [None], lambda number: number // 0, -1)


def test_the_same_is_written(compiled: ModuleType) -> None:
    held = object()
    values = [None, True, 7, 1 << 70, "a\udc80b", 1.5, held, Random, ("x",)]
    results = []
    for write in (quick._write, compiled.write):
        out: list[str] = []
        refers: list[int] = []
        other: list[Any] = []
        numbers = {id(held): 3, id(values[-1]): 4}
        write(values, out, refers, numbers, (tuple,), other.append)
        results.append((out, refers, other))
    assert (
        results[0]
        == results[1]
        == (["None", "True", "7", str(1 << 70), repr("a\udc80b"), "#"], [3], [1.5, Random, ("x",)])
    )


class Slots:
    __slots__ = ("a", "b")

    a: object
    b: object


@pytest.mark.parametrize("change", [None, "slot", "unset", "dict", "key", "list", "longer", "cell"])
def test_what_is_another_object_is_seen(compiled: ModuleType, change: str | None) -> None:
    slots = Slots()
    slots.a = "one"
    table, row, read = {"k": [1], "m": 2}, [[1], 2], [1000]
    ways = [compiled.offsets(Slots, ("a", "b")), dict, list, None]
    assert len(ways[0]) == 16
    before = [("one", UNSET), tuple(table.items()), tuple(row), (read[0],)]
    if change == "slot":
        slots.b = None
    elif change == "unset":
        del slots.a
    elif change == "dict":
        table["k"] = [1]
    elif change == "key":
        table["n"] = table.pop("m")
    elif change == "list":
        row[0] = [1]
    elif change == "longer":
        row.append(3)
    elif change == "cell":
        read[0] = int("1000")
    found = compiled.changed(
        [slots, table, row, read], ways, [None, None, None, tuple], [None, None, None, read], before, UNSET
    )
    expected = {"slot": [0], "unset": [0], "dict": [1], "key": [1], "list": [2], "longer": [2], "cell": [3]}
    assert found == expected.get(change or "", [])


def test_a_class_without_such_slots_has_no_offsets(compiled: ModuleType) -> None:
    class Shadowed(Slots):
        b = property(lambda _: 1)

    assert compiled.offsets(Shadowed, ("a", "b")) is None
    assert compiled.offsets(Slots, ("a", "c")) is None
    assert compiled.offsets(slice, ("start",)) is None or len(compiled.offsets(slice, ("start",))) == 8


def states(program: Program, limit: int | None = None) -> tuple[Any, ...]:
    strategy = Stateful()
    found = search(program, strategy, Limits(schedules=None, states=limit), keep_going=True)
    tapes = [one.tape.raw for one in found.found]
    return list(strategy.graph._numbers), strategy.cycles, found.outcomes, tapes, found.steps


@pytest.mark.parametrize("seed", range(0, 60, 5))
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_same_states_of_programs(
    compiled: ModuleType, either: Callable[[ModuleType | None], None], flavour: str, seed: int
) -> None:
    program = micro_program(seed, flavour)
    either(None)
    plain = states(program)
    either(compiled)
    assert states(program) == plain


@pytest.mark.parametrize(
    ("scenario", "patch", "arch"),
    [
        ("hole", "v3", "snp"),
        ("conv1", "inplace", "tdx"),
        ("zoo-poison_punch", "mainline-7.3", "sw-protected"),
    ],
)
def test_the_same_states_of_scenarios(
    compiled: ModuleType, either: Callable[[ModuleType | None], None], scenario: str, patch: str, arch: str
) -> None:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch)
    either(None)
    plain = states(program, 400)
    either(compiled)
    assert states(program, 400) == plain
    assert len(plain[0]) >= 400


def test_nothing_is_leaked(compiled: ModuleType, either: Callable[[ModuleType | None], None]) -> None:
    either(compiled)
    program = micro_program(3, FLAVOURS[0])
    states(program)
    kept = object()
    before = sys.getrefcount(kept), sys.getrefcount(None)
    for _ in range(50):
        compiled.write([kept, None], [], [], {id(kept): 1}, (), [].append)
        compiled.changed([[kept]], [list], [None], [None], [(kept,)], UNSET)
        compiled.unusual([kept], {int})
    assert sys.getrefcount(kept) == before[0]
    assert abs(sys.getrefcount(None) - before[1]) < 50


def test_coroutines_are_read_the_same(
    compiled: ModuleType, either: Callable[[ModuleType | None], None]
) -> None:
    def numbers(until: int, one: object = None, other: object = None) -> Generator[int, None, None]:
        yield from [*range(until)]
        raise AssertionError(one, other)

    async def inner() -> None:
        await sleep(0)

    async def outer(name: str, one: object, other: object, ended: object) -> None:
        await inner()
        raise AssertionError(name, one, other, ended)

    ended, first = numbers(0), numbers(2)
    for _ in first:
        break
    with pytest.raises(AssertionError):
        next(ended)
    second = numbers(3, first, ended)
    coro: Any = outer("name", second, [first], ended)
    next(second)
    coro.send(None)
    results = []
    for module in (None, compiled):
        either(module)
        chain = chain_of(coro)
        images = [Image(one) for one in (*chain, first, second)]
        results.append(
            (chain, held_by([coro]), held_by(chain), [(one.raw, one.owned, one.position) for one in images])
        )
        with pytest.raises(NotRestorable, match="ended"):
            Image(ended)
        with pytest.raises(NotRestorable, match="awaits int"):
            chain_of(3)
    assert results[0] == results[1]
    assert set(results[0][1]) == {*results[0][0][1:], second, first}
    assert results[0][2] == [second, first]
    for one in (*results[0][0], second, first):
        drop(one)


@pytest.mark.parametrize("in_c", [False, True])
def test_a_frame_that_somebody_looks_into_keeps_its_coroutine(
    compiled: ModuleType, either: Callable[[ModuleType | None], None], in_c: bool
) -> None:
    either(compiled if in_c else None)

    async def waits(value: object) -> None:
        await sleep(0)
        raise AssertionError(value)

    for look in (False, True):
        held = object()
        coro: Any = waits(held)
        coro.send(None)
        frame = coro.cr_frame if look else None
        before = sys.getrefcount(coro), sys.getrefcount(held)
        drop(coro)
        # The frame lies in the coroutine, so that one has to stay as long as the other.
        assert sys.getrefcount(coro) == before[0] + look
        assert sys.getrefcount(held) == before[1] - 1
        del frame


def test_one_of_another_source_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setattr(compiling, "digest_of_source", lambda: "another")
        path = compiling.build(tmp_path)
    except OSError as error:
        pytest.skip(f"nothing to compile with: {error}")
    # In a process of its own, in which nothing else of that name has been loaded.
    text = f"""
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
loader = ExtensionFileLoader("gmemsim.explore.state._quick", {str(path)!r})
module = sys.modules[loader.name] = module_from_spec(spec_from_loader(loader.name, loader))
loader.exec_module(module)
from gmemsim.explore.state import quick
print(module.SOURCE, quick.COMPILED)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["another", "False"]


_STATES = """
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.state import live
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.catalogue import load_named
print(live.__file__.endswith(".py"))
limits = Limits(schedules=None, states=900)
for case in ("0 hole v3 snp", "3 punch inplace tdx", "0 conv1 inplace snp"):
    reduce, scenario, patch, arch = case.split()
    strategy = Stateful(int(reduce))
    search(ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch), strategy, limits)
    print(b"".join(strategy.graph.digests()).hex(), [strategy.graph.following(one) for one in range(strategy.states)])
"""


def run_in(package: Path, *command: str, pure: bool = False) -> str:
    environment = os.environ | {"PYTHONPATH": str(package), "GMEMSIM_PURE": "1" if pure else ""}
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=package, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.long  # nearly all of it is the compiler
def test_the_same_states_with_compiled_modules(tmp_path: Path) -> None:
    pytest.importorskip("mypyc")
    copytree(
        Path(compiling.__file__).parents[2],
        tmp_path / "gmemsim",
        ignore=ignore_patterns("__pycache__", "*.so"),
    )
    # The fixture says why, where there is no compiler.
    said = subprocess.run(
        [sys.executable, "-m", "gmemsim.explore.state.compile"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        pytest.skip(said.stderr)
    assert "live" in said.stdout
    compiled, plain = (run_in(tmp_path, "-c", _STATES, pure=pure).split("\n", 1) for pure in (False, True))
    assert (compiled[0], plain[0]) == ("False", "True")
    assert compiled[1] == plain[1]
    assert len(plain[1]) > 3 * 32 * 900
    # Compiled from another text than the present one, of whatever file of the package: not taken.
    ignored = tmp_path / "gmemsim/explore/state/ignored.py"
    ignored.write_text(ignored.read_text(encoding="utf-8") + "# another\n", encoding="utf-8")
    shown = "from gmemsim.explore.state import live; print(live.__file__)"
    assert run_in(tmp_path, "-c", shown).endswith("live.py\n")


def test_a_compiler_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiling.main() == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no-such-compiler" in err or "Python.h" in err
