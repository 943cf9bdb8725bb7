"""Conformance vectors: scenarios as data, one JSON object a line, read and checked for shape.

The format is in docs/conform.md. A vector says what a kernel's selftests assert, or what documentation or code imply,
and which: `evidence`. Whether a runner can do an operation is not decided here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = ["EVIDENCE", "Step", "Vector", "VectorError", "load_vectors", "parse_vector"]

#: Classes of evidence, strongest first.
EVIDENCE: Final = ("asserted", "asserted_series", "asserted_rfc", "documented", "derived", "ambiguous")

_FIELDS: Final = {
    "id": str,
    "evidence": str,
    "applies_to": dict,
    "setup": dict,
    "steps": list,
}


class VectorError(Exception):
    """A file or line that is no vector; the message is one line for the user."""


@attrs.frozen
class Step:
    """One operation of one actor.

    Attributes:
        path: position in the vector: `4`, or `4.1.0` for the first step of branch 1 of step 4.
        branches: of `parallel`.
    """

    path: str
    actor: str
    op: str
    args: dict[str, Any]
    expect: dict[str, Any]
    branches: tuple[tuple[Step, ...], ...] = ()


@attrs.frozen(kw_only=True)
class Vector:
    """One scenario.

    Attributes:
        line: in its file, from 1.
        versions, vm_types: to which it applies, in the vectors' own names (`sw_protected`).
        kernels: `min` and `below`, releases to which it applies beyond that.
    """

    id: str
    line: int
    family: str
    area: str
    evidence: str
    versions: tuple[str, ...]
    vm_types: tuple[str, ...]
    kernels: dict[str, str]
    setup: dict[str, Any]
    steps: tuple[Step, ...]
    notes: str = ""

    def all_steps(self) -> Iterator[Step]:
        """Every step, those of branches behind their `parallel`."""
        for step in self.steps:
            yield from _walk(step)


def _walk(step: Step) -> Iterator[Step]:
    yield step
    for branch in step.branches:
        for inner in branch:
            yield from _walk(inner)


def load_vectors(path: Path) -> list[Vector]:
    """All vectors of a file.

    Raises:
        VectorError: naming file, line and field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise VectorError(f"{path}: {problem}") from None
    found: list[Vector] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise VectorError(f"{path}:{number}: not JSON: {error}") from None
        vector = parse_vector(document, f"{path}:{number}", number)
        if vector.id in seen:
            raise VectorError(f"{path}:{number}: id {vector.id!r} is used on line {seen[vector.id]} already")
        seen[vector.id] = number
        found.append(vector)
    if not found:
        raise VectorError(f"{path}: no vectors; expected one JSON object a line")
    return found


def parse_vector(document: Any, where: str, line: int = 0) -> Vector:
    """One vector from its JSON object.

    Raises:
        VectorError: naming the field.
    """
    if not isinstance(document, dict):
        raise VectorError(f"{where}: expected an object")
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name), kind):
            raise VectorError(f"{where}: field {name!r}: expected {_named(kind)}")
    if document["evidence"] not in EVIDENCE:
        raise VectorError(f"{where}: field 'evidence': expected one of {', '.join(EVIDENCE)}")
    applies = document["applies_to"]
    for name in ("versions", "vm_types"):
        if not isinstance(applies.get(name), list) or not applies[name]:
            raise VectorError(f"{where}: field 'applies_to.{name}': expected a list that is not empty")
    if not document["steps"]:
        raise VectorError(f"{where}: field 'steps': expected at least one step")
    return Vector(
        id=document["id"],
        line=line,
        family=str(document.get("family", document["id"])),
        area=document.get("area", ""),
        evidence=document["evidence"],
        versions=tuple(applies["versions"]),
        vm_types=tuple(applies["vm_types"]),
        kernels=document.get("kernels") or {},
        setup=document["setup"],
        steps=_steps(document["steps"], where, ""),
        notes=document.get("notes", ""),
    )


def _steps(items: list[Any], where: str, prefix: str) -> tuple[Step, ...]:
    return tuple(_step(item, where, f"{prefix}{number}") for number, item in enumerate(items))


def _step(item: Any, where: str, path: str) -> Step:
    if not isinstance(item, dict):
        raise VectorError(f"{where}: step {path}: expected an object")
    for name, kind in (("actor", str), ("op", str)):
        if not isinstance(item.get(name), kind):
            raise VectorError(f"{where}: step {path}: field {name!r}: expected {_named(kind)}")
    args, expect = item.get("args", {}), item.get("expect")
    if not isinstance(args, dict):
        raise VectorError(f"{where}: step {path}: field 'args': expected an object")
    if not isinstance(expect, dict) or "result" not in expect:
        raise VectorError(f"{where}: step {path}: field 'expect': expected an object with 'result'")
    branches: tuple[tuple[Step, ...], ...] = ()
    if item["op"] == "parallel":
        given = args.get("branches")
        if not isinstance(given, list) or not all(isinstance(branch, list) for branch in given):
            raise VectorError(
                f"{where}: step {path}: field 'args.branches': expected a list of lists of steps"
            )
        branches = tuple(_steps(branch, where, f"{path}.{number}.") for number, branch in enumerate(given))
        args = {name: value for name, value in args.items() if name != "branches"}
    return Step(path, item["actor"], item["op"], args, expect, branches)


def _named(kind: type) -> str:
    return "a string" if kind is str else "an object" if kind is dict else "a list"
