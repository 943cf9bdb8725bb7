"""Kinds of input: good ones to begin with, how they are mutated, and the command that reads them."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import zstandard
from tests.fuzz.mutate import mutated_bytes, mutated_value

import gmemsim
from gmemsim.audit.header import Header
from gmemsim.audit.recorder import Recorder
from gmemsim.audit.render import write_log
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.stress import Cell as StressCell
from gmemsim.explore.stress import Plan, open_state, run_cell
from gmemsim.explore.token import PREFIX, encode
from gmemsim.scenarios.catalogue import load_named, names, zoo_names
from gmemsim.scenarios.conform.suite import EMBEDDED
from gmemsim.scenarios.toml_text import toml_text

if TYPE_CHECKING:
    from random import Random

__all__ = ["TARGETS", "Target"]

_PACKAGE: Final = Path(gmemsim.__file__).parent


class Target(NamedTuple):
    """One kind of input.

    Attributes:
        name: of the file that the input is written to.
        make: an input from a generator.
        command: arguments, with `FILE` for the file's name.
    """

    name: str
    make: Callable[[Random], bytes]
    command: Callable[[Random], tuple[str, ...]]


def _scenario(random: Random) -> bytes:
    scenario = load_named(random.choice(_small()))
    if random.random() < 0.5:
        return mutated_bytes(random, scenario.source.text.encode())
    values = {key: value for key, value in scenario.source.raw.items() if key != "small"}
    if "small" in scenario.source.raw:
        values["parameters"] = values["parameters"] | scenario.source.raw["small"]
    for _ in range(random.choice((1, 1, 1, 2))):
        values = mutated_value(random, values)
    try:
        return toml_text(values).encode()
    except (TypeError, ValueError, AttributeError, KeyError):
        return mutated_bytes(random, scenario.source.text.encode())


@cache
def _small() -> tuple[str, ...]:
    return tuple(name for name in (*names(), *zoo_names()) if load_named(name).small)


@cache
def _log() -> bytes:
    recorder = Recorder()
    program = ScenarioProgram(scenario=load_named("punch"))
    strategy = make_strategy("random", 1)
    run = program.build(strategy, rec=recorder.rec)
    strategy.begin(run.engine)
    run.run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        write_log(path, recorder, Header("punch", "v3", "snp", 1))
        return path.read_bytes()


def _log_text(random: Random) -> bytes:
    lines = _log().splitlines(keepends=True)
    if random.random() < 0.5:
        return mutated_bytes(random, b"".join(lines))
    at = random.randrange(len(lines))
    lines[at] = json.dumps(mutated_value(random, json.loads(lines[at]))).encode() + b"\n"
    return b"".join(lines)


def _packed_log(random: Random) -> bytes:
    packed = zstandard.compress(_log_text(random))
    return packed if random.random() < 0.5 else mutated_bytes(random, packed)


@cache
def _traces() -> tuple[bytes, ...]:
    found = sorted((_PACKAGE / "scenarios" / "recorded").rglob("*.trace.gz"))
    return tuple(b"\n".join(gzip.decompress(path.read_bytes()).split(b"\n")[:160]) for path in found)


def _trace(random: Random) -> bytes:
    text = mutated_bytes(random, random.choice(_traces()))
    if random.random() < 0.3:
        packed = gzip.compress(text, mtime=0)
        return packed if random.random() < 0.3 else mutated_bytes(random, packed)
    return text


@cache
def _vectors() -> tuple[bytes, ...]:
    lines = [line for path in EMBEDDED for line in path.read_bytes().splitlines()]
    # Parallel steps begin with a search of states, which takes its time with good input too.
    return tuple(line for line in lines if len(line) < 4_000 and b"parallel" not in line)


def _vector(random: Random) -> bytes:
    line = random.choice(_vectors())
    if random.random() < 0.3:
        return mutated_bytes(random, line)
    value = json.loads(line)
    for _ in range(random.choice((1, 1, 1, 2))):
        value = mutated_value(random, value)
    return json.dumps(value).encode() + b"\n"


@cache
def _token_values() -> tuple[Any, ...]:
    found = []
    for name in ("same", "punch", "conv1"):
        program = ScenarioProgram(scenario=load_named(name))
        strategy = make_strategy("random", 1)
        run = program.build(strategy)
        strategy.begin(run.engine)
        run.run()
        body = encode(program, run.engine.tape)[len(PREFIX) :]
        packed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        found.append(msgspec.msgpack.decode(zlib.decompress(packed)))
    return tuple(found)


def _token(random: Random) -> bytes:
    values = random.choice(_token_values())
    whole = random.random() < 0.7
    if whole:
        for _ in range(random.choice((1, 1, 1, 2))):
            values = mutated_value(random, values)
    text = msgspec.msgpack.encode(values)
    if not whole:
        text = mutated_bytes(random, text)
    packed = PREFIX.encode() + base64.urlsafe_b64encode(zlib.compress(text)).rstrip(b"=")
    return packed if random.random() < 0.85 else mutated_bytes(random, packed)


@cache
def _state_text() -> bytes:
    plan = Plan(schedules=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.state"
        with open_state(path, plan) as state:
            for seed in range(2):
                state.add(run_cell(StressCell("same", "v3", "sw-protected", seed), plan))
        return path.read_bytes()


def _state(random: Random) -> bytes:
    lines = _state_text().splitlines(keepends=True)
    if random.random() < 0.5:
        return mutated_bytes(random, b"".join(lines))
    at = random.randrange(len(lines))
    lines[at] = json.dumps(mutated_value(random, json.loads(lines[at]))).encode() + b"\n"
    return b"".join(lines)


_PATCH: Final = """\
from gmemsim.patches.v3 import V3


class Mine(V3):
    limit = 3

    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        return await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)

    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):
        lock = slot.gmem_file.inode.invalidate_lock
        await lock.down_read(t)
        ret, folio = await super().kvm_gmem_get_pfn(t, vm, slot, gfn)
        await lock.up_read(t)
        return ret, folio
"""
_SPELLINGS: Final = (
    ("await ", ""), ("async ", ""), ("self", "t"), ("folio", "gfn"), ("return", "raise"), ("return", "yield"),
    ("V3", "V2"),
    ("down_read", "down_write"), ("up_read", "up_write"), ("lock", "slot"), ("ret", "None"), ("not ", ""), ("0", "-1"),
    ("kvm_gmem_", "kvm_gmen_"), ("kvm_gmem_make_ready", "kvm_gmem_max_order"), ("limit = 3", "gmem_prepare = None"),
    ("limit = 3", "default_release = 5"), ("limit = 3", "name = 7"), ("limit = 3", "kvm_gmem_punch_hole = 3"),
    ("return await", "raise SystemExit(0)\n        await"), ("import V3", "import V4"),
    ("lock =", "raise KeyboardInterrupt #"),
    ("lock =", "raise GeneratorExit #"), ("lock =", "import sys; sys.exit(1) #"),
    ("limit = 3", "import sys; sys.exit(0)"),
    ("class Mine(V3)", "class Mine(V3, int)"), ("class Mine(V3)", "class Mine"), ("limit = 3", "__slots__ = 5"),
    ("folio.index", "folio.nothing"), ("lock =", "raise RecursionError #"), ("lock =", "raise StopIteration #"),
    ("lock =", "raise MemoryError #"), ("t, vm, slot, gfn", "t, vm, slot"), ("t, vm, slot, gfn", "*a, **k"),
    ("lock =", "t.point(None) #"), ("lock =", "await None #"), ("return ret, folio", "return 0"),
    ("return ret, folio", "return None"),
)  # fmt: skip


def _patch(random: Random) -> bytes:
    text = _PATCH
    for _ in range(random.choice((1, 1, 2, 3))):
        old, new = random.choice(_SPELLINGS)
        at = [number for number in range(len(text)) if text.startswith(old, number)]
        if at:
            place = random.choice(at)
            text = text[:place] + new + text[place + len(old) :]
    return text.encode()


def _plain(*words: str) -> Callable[[Random], tuple[str, ...]]:
    return lambda random: words


TARGETS: Final[dict[str, Target]] = {
    "scenario": Target(
        "x.toml",
        _scenario,
        _plain("explore", "FILE", "--max-schedules", "1", "--strategy", "random", "--no-shrink"),
    ),
    "scenario-run": Target("x.toml", _scenario, _plain("run", "FILE", "--limit", "200us")),
    "log": Target("x.jsonl", _log_text, _plain("diff", "FILE", "FILE")),
    "log-zst": Target("x.jsonl.zst", _packed_log, _plain("diff", "FILE", "FILE")),
    "trace": Target("x.trace", _trace, _plain("follow", "FILE", "--patch", "v3")),
    "trace-diff": Target("x.trace", _trace, _plain("diff", "FILE", "FILE")),
    "vector": Target("x.jsonl", _vector, _plain("conform", "FILE", "--schedules", "1", "--json")),
    "token": Target("x.tok", _token, _plain("replay", "@FILE", "--json")),
    "state": Target(
        "x.state",
        _state,
        _plain(
            "stress", "same", "--arch", "sw-protected", "--seeds", "1", "--schedules", "2", "--state", "FILE"
        ),
    ),
    "patch": Target(
        "mine.py",
        _patch,
        _plain(
            "explore",
            "same",
            "--max-schedules",
            "1",
            "--strategy",
            "random",
            "--no-shrink",
            "--patch",
            "FILE:Mine",
        ),
    ),
    "patch-run": Target("mine.py", _patch, _plain("run", "same", "--small", "--patch", "FILE:Mine")),
}
