"""`gmemsim list`: what there is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import click

from .errors import Command
from .output import console, print_json
from .params import json_option

Row = dict[str, Any]


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _patches() -> Iterable[Row]:
    from ..patches.registry import HUGE, HUGE_VARIANTS, IN_PLACE, PATCHES, VARIANTS

    versions = {**PATCHES, **IN_PLACE, **HUGE, **HUGE_VARIANTS, **VARIANTS}
    described_by: set[str] = set()
    for name, cls in versions.items():
        # The module tells of its first version, unless that is one of several variants.
        own = name in HUGE_VARIANTS or cls.__module__ in described_by
        described = cls if own else import_module(cls.__module__)
        described_by.add(cls.__module__)
        yield {"name": name, "release": cls.default_release, "summary": _first_line(described)}


def _changes() -> Iterable[Row]:
    from ..patches.posted import CHANGES

    for change in CHANGES.values():
        yield {
            "name": change.name,
            "state": change.state,
            "switch": change.make is not None,
            "summary": f"{change.title} ({change.source}). {change.says}",
        }


def _mends() -> Iterable[Row]:
    from ..patches.groups import ALL_VERSIONS
    from ..patches.mends.registry import MENDS
    from ..patches.mends.versions import versions_for

    for mend in MENDS.values():
        versions = versions_for(mend)
        yield {
            "name": mend.ident,
            "findings": ", ".join(mend.findings),
            "for": "all versions" if versions == ALL_VERSIONS else ", ".join(versions),
            "summary": mend.title + (f". Known to be wrong: {mend.wrong}" if mend.wrong else ""),
        }


def _arches() -> Iterable[Row]:
    from ..arch.registry import ARCHES, PROJECTIONS

    for name, cls in {**ARCHES, **PROJECTIONS}.items():
        yield {"name": name, "private memory": cls.has_private_memory, "summary": _first_line(cls)}


def _scenarios() -> Iterable[Row]:
    from ..scenarios.catalogue import load_named, names

    for name in names():
        scenario = load_named(name)
        yield {"name": name, "VM types": ", ".join(scenario.head.vm_types), "summary": scenario.head.summary}


def _findings() -> Iterable[Row]:
    from ..explore.findings.table import FINDINGS

    for name, one in FINDINGS.items():
        yield {"name": name, "state": one.state, "summary": one.title}


def _hazards() -> Iterable[Row]:
    from ..patches.hazards.registry import HAZARDS

    for name, hazard in HAZARDS.items():
        yield {"name": name, "title": hazard.title, "question": hazard.question}


def _rules() -> Iterable[Row]:
    from ..oracles.every_rule import EVERY_RULE

    for name, rule in EVERY_RULE.items():
        yield {"name": name, "kind": rule.kind, "says": rule.says, "source": rule.source}


def _events() -> Iterable[Row]:
    from ..audit.vocabulary import vocabulary

    for name, cls in vocabulary().items():
        fields = ", ".join(cls.__struct_fields__)
        yield {"name": name, "family": cls.family, "fields": fields, "mirrors": cls.mirrors}


def _locks() -> Iterable[Row]:
    from ..engine.locks.policies import LOCK_POLICIES

    for name, cls in LOCK_POLICIES.items():
        yield {"name": name, "summary": _first_line(cls)}


def _mapping(module: str, attribute: str) -> Callable[[], Iterable[Row]]:
    def rows() -> Iterable[Row]:
        found: dict[str, Any] = getattr(import_module(module), attribute)
        for name, thing in found.items():
            yield {"name": name, "summary": getattr(thing, "summary", None) or _first_line(thing)}

    return rows


#: What can be listed: the module that must exist, and the rows.
KINDS: Final[dict[str, tuple[str, Callable[[], Iterable[Row]]]]] = {
    "patches": ("gmemsim.patches.registry", _patches),
    "changes": ("gmemsim.patches.posted", _changes),
    "mends": ("gmemsim.patches.mends.registry", _mends),
    "arches": ("gmemsim.arch.registry", _arches),
    "scenarios": ("gmemsim.scenarios.catalogue", _scenarios),
    "findings": ("gmemsim.explore.findings.table", _findings),
    "rules": ("gmemsim.oracles.every_rule", _rules),
    "hazards": ("gmemsim.patches.hazards.registry", _hazards),
    "bugs": ("gmemsim.patches.zoo.registry", _mapping("gmemsim.patches.zoo.registry", "BUGS")),
    "strategies": ("gmemsim.explore.strategies", _mapping("gmemsim.explore.strategies", "STRATEGIES")),
    "locks": ("gmemsim.engine.locks.policies", _locks),
    "events": ("gmemsim.audit.vocabulary", _events),
}


def kinds() -> list[str]:
    """What there is to list."""
    return [kind for kind, (module, _) in KINDS.items() if find_spec(module) is not None]


@click.command("list", cls=Command)
@click.argument("kind", type=click.Choice(kinds()))
@json_option
def command(kind: str, as_json: bool) -> None:
    """Show what there is."""
    rows = list(KINDS[kind][1]())
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in rows[0] if rows else ():
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console().print(table)


def _cell(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
