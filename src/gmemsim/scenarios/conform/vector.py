"""Conformance vectors: scenarios as data, one JSON object a line, read and checked.

The format is in docs/conform.md. A vector says what a kernel's selftests assert, or what documentation or code imply,
and which: `evidence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from ...audit.bounded import clean, key_twice
from .arguments import ARGUMENTS, VCPU_OPERATIONS, Args
from .document import Applies, Document, Kernels, Setup, StepTable, VectorError, decode
from .results import unknown_expectation

#: Classes of evidence, strongest first.
EVIDENCE: Final = ("asserted", "asserted_series", "asserted_rfc", "documented", "derived", "ambiguous")
#: What `applies_to` may name.
VERSIONS: Final = ("baseline", "v3", "inplace", "hugepage")
VM_TYPES: Final = ("default", "sw_protected", "snp", "tdx")

#: Bounds of a file, so that a bad one costs neither memory nor time.
_MAX_BYTES: Final = 64 << 20
_MAX_STEPS: Final = 20_000
_MAX_TURNS: Final = 1_000_000
_MAX_DEPTH: Final = 8


#: Other words of the same.
_LOOP_WORDS: Final = {"times": "count", "rounds": "count", "iterations": "count", "body": "steps"}


@attrs.frozen
class Step:
    """One operation of one actor.

    Attributes:
        path: position in the vector: `4`, or `4.1.0` for the first step of branch 1 of step 4.
        args: None if it is not known what the operation is given.
        branches: of `parallel`; the steps of `loop` are its only branch.
        unknown: what in it nobody knows; empty: nothing.
    """

    path: str
    actor: str
    op: str
    args: Args | None
    expect: dict[str, Any]
    branches: tuple[tuple[Step, ...], ...] = ()
    unknown: str = ""


@attrs.frozen(kw_only=True)
class Vector:
    """One scenario.

    Attributes:
        line: in its file, from 1.
        versions, vm_types: to which it applies, in the vectors' own names (`sw_protected`).
        kernels: releases to which it applies beyond that.
        unknown: what outside its steps nobody knows; empty: nothing.
        everywhere: it is not known where it applies.
    """

    id: str
    line: int
    family: str
    area: str
    evidence: str
    versions: tuple[str, ...]
    vm_types: tuple[str, ...]
    kernels: Kernels
    setup: Setup
    steps: tuple[Step, ...]
    notes: str = ""
    unknown: str = ""
    everywhere: bool = False

    def all_steps(self) -> Iterator[Step]:
        """Every step, those of branches behind their `parallel` or `loop`."""
        for step in self.steps:
            yield from _walk(step)

    def unsupported(self) -> str:
        """Why no runner can say whether it holds; empty if nothing of it is unknown."""
        if self.unknown:
            return self.unknown
        return next((f"step {step.path}: {step.unknown}" for step in self.all_steps() if step.unknown), "")


def _walk(step: Step) -> Iterator[Step]:
    yield step
    for branch in step.branches:
        for inner in branch:
            yield from _walk(inner)


def load_vectors(*paths: Path) -> list[Vector]:
    """All vectors of some files; an id is used once in all of them.

    Raises:
        VectorError: naming file, line and field.
    """
    found: list[Vector] = []
    seen: dict[str, str] = {}
    for path in paths:
        for vector in _file(path):
            if vector.id in seen:
                raise VectorError(f"{path}:{vector.line}: id {vector.id!r} is used {seen[vector.id]} already")
            seen[vector.id] = f"on line {vector.line}" if len(paths) == 1 else f"in {path}:{vector.line}"
            found.append(vector)
    return found


def _file(path: Path) -> list[Vector]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise VectorError(f"{path}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise VectorError(f"{path}: more than {_MAX_BYTES >> 20} MiB")
    found: list[Vector] = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        found.append(parse_vector(_json(line, where), where, number))
    if not found:
        raise VectorError(f"{path}: no vectors; expected one JSON object a line")
    return found


def _json(line: bytes, where: str) -> Any:
    try:
        line.decode("utf-8")
        found = msgspec.json.decode(line)
        twice = key_twice(line)
    except UnicodeDecodeError:
        raise VectorError(f"{where}: not a text in UTF-8") from None
    except RecursionError:
        raise VectorError(f"{where}: nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise VectorError(f"{where}: not JSON: {error}") from None
    if twice:
        raise VectorError(f"{where}: field {clean(twice, 60)!r} is given twice in one object")
    return found


def parse_vector(document: Any, where: str, line: int = 0) -> Vector:
    """One vector from its JSON object.

    Raises:
        VectorError: naming the field.
    """
    if not isinstance(document, dict):
        raise VectorError(f"{where}: expected an object")
    _bounded(document, where, "")
    table, unknown = decode(document, Document, where, "")
    assert table is not None  # it has no words of its own
    if table.evidence not in EVIDENCE:
        raise VectorError(f"{where}: field 'evidence': expected one of {', '.join(EVIDENCE)}")
    setup, more = decode(table.setup, Setup, where, "setup")
    kernels, misspelt = decode(table.kernels, Kernels, where, "kernels")
    lost = _unnamed(table.applies_to)
    unknown += [*more, *misspelt, *lost]
    return Vector(
        id=table.id,
        line=line,
        family=table.family or table.id,
        area=table.area,
        evidence=table.evidence,
        versions=table.applies_to.versions,
        vm_types=table.applies_to.vm_types,
        kernels=kernels or Kernels(),
        setup=setup or Setup(),
        steps=_Steps(where, setup or Setup()).read(table.steps, "", 0),
        notes=table.notes,
        unknown=", ".join(unknown),
        everywhere=bool(lost) or kernels is None or bool(misspelt),
    )


def _unnamed(applies: Applies) -> list[str]:
    return [
        f"{value!r} in applies_to.{name}"
        for name, given, known in (
            ("versions", applies.versions, VERSIONS),
            ("vm_types", applies.vm_types, VM_TYPES),
        )
        for value in given
        if value not in known
    ]


def _bounded(value: Any, where: str, at: str) -> None:
    """Integers are at most 64 bits wide.

    Raises:
        VectorError: one is not.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            _bounded(item, where, f"{at}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _bounded(item, where, f"{at}[{number}]")
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise VectorError(f"{where}: field {at.lstrip('.')!r}: expected an integer of 64 bits")


class _Steps:
    """The steps of one vector, at any depth."""

    def __init__(self, where: str, setup: Setup) -> None:
        self._where = where
        self._setup = setup
        self._count = 0
        self._turns = 0

    def read(self, items: Any, prefix: str, depth: int, turns: int = 1) -> tuple[Step, ...]:
        """One list of them, to be taken `turns` times."""
        if depth > _MAX_DEPTH:
            raise VectorError(f"{self._where}: steps nested more than {_MAX_DEPTH} deep")
        return tuple(self._step(item, f"{prefix}{number}", depth, turns) for number, item in enumerate(items))

    def _step(self, item: Any, path: str, depth: int, turns: int) -> Step:
        self._count += 1
        if self._count > _MAX_STEPS:
            raise VectorError(f"{self._where}: more than {_MAX_STEPS} steps")
        self._turns += turns
        if self._turns > _MAX_TURNS:
            raise VectorError(f"{self._where}: loops of more than {_MAX_TURNS} steps in all")
        where = f"{self._where}: step {path}"
        if not isinstance(item, dict):
            raise VectorError(f"{where}: expected an object")
        table, unknown = decode(item, StepTable, where, "")
        given = dict(item["args"]) if isinstance(item.get("args"), dict) else {}
        op = item["op"] if isinstance(item.get("op"), str) else ""
        branches = self._branches(op, given, path, depth, turns)
        if table is None:
            return Step(path, "", op, None, {}, branches, ", ".join(unknown))
        kind = ARGUMENTS.get(op)
        if kind is None:
            return Step(path, table.actor, op, None, item["expect"], branches, f"operation {op!r}")
        args, more = decode(given, kind, where, "args")
        unknown += more
        unknown += unknown_expectation(op, item["expect"]) + self._unknown_actor(op, table.actor)
        return Step(path, table.actor, op, args, item["expect"], branches, ", ".join(unknown))

    def _unknown_actor(self, op: str, actor: str) -> list[str]:
        name, _, vm = actor.partition("@")
        if vm and vm not in self._setup.vms:
            return [f"actor {actor!r}, there is no such VM"]
        number = name.removeprefix("vcpu")
        if number == name:
            return [f"actor {actor!r} of {op}, expected a vCPU"] if op in VCPU_OPERATIONS else []
        # vCPUs are of the first VM.
        here = int(number) < self._setup.vcpus and not vm
        return [] if here else [f"actor {actor!r}, there is no such vCPU"]

    def _branches(
        self, op: str, args: dict[str, Any], path: str, depth: int, turns: int
    ) -> tuple[tuple[Step, ...], ...]:
        """Lists of steps among the arguments, taken out of them."""
        name = {"parallel": "branches", "loop": "steps"}.get(op)
        if name is None:
            return ()
        for other, ours in _LOOP_WORDS.items() if op == "loop" else ():
            if other in args and ours not in args:
                args[ours] = args.pop(other)
        given = args.pop(name, None)
        lists = [given] if op == "loop" else given
        if (
            not isinstance(lists, list)
            or not lists
            or not all(isinstance(each, list) and each for each in lists)
        ):
            wanted = "a list of steps" if op == "loop" else "a list of lists of steps"
            raise VectorError(f"{self._where}: step {path}: field 'args.{name}': expected {wanted}")
        count = args.get("count") if op == "loop" else 1
        turns *= count if isinstance(count, int) and 0 < count <= _MAX_TURNS else 1
        return tuple(self.read(branch, f"{path}.{n}.", depth + 1, turns) for n, branch in enumerate(lists))
