"""Cost tables as files: a machine that comes with the package, by name, or a user's own.

    title = "AMD EPYC 7003 (Milan)"   # optional
    base = "milan"                    # what the file changes: generic, full or a machine; default full

    [cost]
    rmpupdate = 800                   # virtual ns
    line = { value = 60, low = 25, high = 110, source = "measured, core-to-core", confidence = "C" }

    [cost.snp]                        # for VMs of this type only
    fault_entry = 2100

`generic` is `CostTable`, which every command uses unless told otherwise; `full` is `PlatformCosts` with its defaults.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import attrs

from ..bad_input import BadInput
from ..nearest import hint
from .costs import ARCH_COSTS, ARCH_EVIDENCE, CostTable, Evidence
from .platform_costs import PlatformCosts

#: Machines that come with the package.
PLATFORMS: Final = ("milan", "genoa", "sapphire-rapids")
_BASES: Final = ("generic", "full", *PLATFORMS)
_ARCHES: Final = ("default", "sw-protected", "snp", "tdx", "pkvm")
_CONFIDENCE: Final = {"A", "B", "C", "D", "E"}
_KEYS: Final = ("title", "base", "cost")
_ENTRY: Final = ("value", "low", "high", "source", "confidence")
#: An hour: more is a slip of the pen.
_MOST: Final = 3_600_000_000_000


class CostFileError(BadInput, ValueError):
    """A cost file that cannot be used; one line: file, line, field, what was expected."""


@attrs.frozen
class Costs:
    """A cost table for every VM type.

    Attributes:
        name: for labels: `generic`, a machine's, or the file's.
        title: for people.
        full: whether everything of `PlatformCosts` is charged.
        changes: entries that differ from the defaults; by VM type in `arch_changes`, which win.
        evidence: of the entries that a file gives; those by VM type in `arch_evidence`.
    """

    name: str
    title: str
    full: bool
    changes: Mapping[str, int]
    arch_changes: Mapping[str, Mapping[str, int]]
    evidence: Mapping[str, Evidence]
    arch_evidence: Mapping[str, Mapping[str, Evidence]] = attrs.field(factory=dict)

    @property
    def entries(self) -> type[CostTable]:
        """The class of the table."""
        return PlatformCosts if self.full else CostTable

    def table(self, arch: str) -> CostTable:
        """The table of a VM type: the defaults, the type's own (`ARCH_COSTS`), then the file's."""
        changes = {**ARCH_COSTS.get(arch, {}), **self.changes, **self.arch_changes.get(arch, {})}
        return self.entries().replace(**changes)

    def rows(self, arch: str) -> list[tuple[str, int, Evidence]]:
        """Every entry with its value for a VM type and why it is so."""
        table = self.table(arch)
        why = {**ARCH_EVIDENCE.get(arch, {}), **self.evidence, **self.arch_evidence.get(arch, {})}
        return [(name, getattr(table, name), why.get(name) or table.evidence(name)) for name in table.names()]


GENERIC: Final = Costs("generic", "generic, waits only", False, {}, {}, {})
_FULL: Final = Costs("full", "no machine in particular", True, {}, {}, {})


@cache
def load_costs(name: str) -> Costs:
    """`generic`, `full`, a machine of `PLATFORMS`, or the path of a file.

    Raises:
        CostFileError: no such machine or file, or something in the file is not as it should be.
    """
    if name == "generic":
        return GENERIC
    if name == "full":
        return _FULL
    if name in PLATFORMS:
        path = files("gmemsim.arch") / "platforms" / f"{name}.toml"
        return attrs.evolve(_decode(f"{name}.toml", path.read_text(encoding="utf-8")), name=name)
    if not name.endswith(".toml"):
        raise CostFileError(
            f"{name!r} is no cost table; {hint(name, _BASES)}, or the name of a file, FILE.toml"
        )
    try:
        text = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise CostFileError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CostFileError(f"{name}: not a text in UTF-8") from None
    return _decode(name, text)


@attrs.frozen
class _Text:
    """A file's name and text, for messages."""

    name: str
    text: str

    def error(self, key: str, message: str) -> CostFileError:
        """An error about a key, with the line that it stands in."""
        last = re.escape(key.rpartition(".")[2])
        pattern = re.compile(rf'(?:^|[.\[{{,\s]){last}["\']?\s*(?:=|\]|\.)')
        for number, line in enumerate(self.text.splitlines(), 1):
            if pattern.search(line.partition("#")[0]):
                return CostFileError(f"{self.name}:{number}: {key}: {message}")
        return CostFileError(f"{self.name}: {key}: {message}")


def _decode(name: str, text: str) -> Costs:
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise CostFileError(f"{name}: not TOML: {error}") from None
    source = _Text(name, text)
    for key in raw:
        if key not in _KEYS:
            more = " (costs stand below [cost])" if key in PlatformCosts.names() else ""
            raise source.error(key, f"no such key{more}; {hint(key, _KEYS)}")
    base = _base(source, raw.get("base", "full"))
    title = raw.get("title", Path(name).stem)
    if not isinstance(title, str):
        raise source.error("title", "expected a text")
    table = raw.get("cost", {})
    if not isinstance(table, dict):
        raise source.error("cost", "expected a table, [cost]")
    evidence = dict(base.evidence)
    arch_changes = {arch: dict(changes) for arch, changes in base.arch_changes.items()}
    arch_evidence = {arch: dict(found) for arch, found in base.arch_evidence.items()}
    for arch in _ARCHES:
        own = table.pop(arch, None)
        if own is not None:
            if not isinstance(own, dict):
                raise source.error(arch, f"expected a table, [cost.{arch}]")
            why = arch_evidence.setdefault(arch, {})
            arch_changes.setdefault(arch, {}).update(_entries(source, f"cost.{arch}", own, base, why))
    changes = {**base.changes, **_entries(source, "cost", table, base, evidence)}
    return Costs(name, title, base.full, changes, arch_changes, evidence, arch_evidence)


def _base(source: _Text, name: Any) -> Costs:
    if name not in _BASES:
        raise source.error("base", f"{name!r}: {hint(str(name), _BASES)}")
    return load_costs(name)


def _entries(
    source: _Text, place: str, table: Mapping[str, Any], base: Costs, evidence: dict[str, Evidence]
) -> dict[str, int]:
    found = {}
    names = base.entries.names()
    for key, given in table.items():
        path = f"{place}.{key}"
        if key not in names:
            if key in PlatformCosts.names():
                raise source.error(
                    path, 'not charged with base = "generic"; expected base = "full" or a machine'
                )
            raise source.error(path, f"no such cost; {hint(key, names)}")
        entry = given if isinstance(given, dict) else {"value": given}
        for part in entry:
            if part not in _ENTRY:
                raise source.error(path, f"{part!r}: {hint(part, _ENTRY)}")
        if "value" not in entry:
            raise source.error(path, "expected a value, in ns")
        value = _number(source, path, "value", entry["value"])
        low = _number(source, path, "low", entry.get("low", value))
        high = _number(source, path, "high", entry.get("high", value))
        if not low <= value <= high:
            raise source.error(path, f"expected low <= value <= high, got {low}, {value}, {high}")
        why, confidence = entry.get("source", f"{source.name}: no source given"), entry.get("confidence", "E")
        if not isinstance(why, str):
            raise source.error(path, "source: expected a text")
        if confidence not in _CONFIDENCE:
            raise source.error(
                path, f"confidence {confidence!r}: expected one of {', '.join(sorted(_CONFIDENCE))}"
            )
        found[key] = value
        evidence[key] = Evidence(low, high, why, confidence)
    return found


def _number(source: _Text, path: str, part: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise source.error(path, f"{part}: expected a whole number of ns, 0 or more, got {value!r}")
    return value
