"""`gmemsim explain`: one rule, whole."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from .errors import Command
from .output import console, print_json
from .params import json_option

if TYPE_CHECKING:
    from ..oracles.rules import Rule

_KINDS = {
    "harm": "about harm",
    "choice": "restates the choice of a lock or an order: a search goes on past it and looks for harm",
}


@click.command("explain", cls=Command)
@click.argument("rule")
@json_option
def command(rule: str, as_json: bool) -> None:
    """Show what RULE (I33, deadlock, …) says, why, where it comes from, and which versions it speaks of.

    `gmemsim list rules` has all of them.
    """
    from ..oracles.every_rule import rule_named

    found = rule_named(rule)
    document = _document(found)
    if as_json:
        print_json(document)
        return
    width = console().width
    void: dict[str, str] = document["does_not_apply"]
    lines = [
        f"{found.ident}: {found.says}",
        f"kind: {found.kind}: {_KINDS[found.kind]}",
        f"broken: {document['effect']}",
        f"source: {found.source}",
        f"versions: {', '.join(document['versions']) if void else 'all'}",
        *(
            f"not on {', '.join(n for n in void if void[n] == why)}: {why}"
            for why in dict.fromkeys(void.values())
        ),
        f"checks: {', '.join(document['checks'])}" if document["checks"] else "",
        f"known findings: {', '.join(document['findings'])}" if document["findings"] else "",
    ]
    for line in filter(None, lines):
        for part in wrap(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False):
            click.echo(part)


def _document(rule: Rule) -> dict[str, Any]:
    from ..explore.findings.table import FINDINGS
    from ..oracles import checks_of
    from ..oracles.effects import EFFECTS
    from ..oracles.every_rule import ALWAYS, versions_of

    void = versions_of(rule)
    return {
        "rule": rule.ident,
        "kind": rule.kind,
        "says": rule.says,
        "effect": EFFECTS.get(rule.ident, rule.says),
        "source": rule.source,
        "versions": [name for name, why in void.items() if not why],
        "does_not_apply": {name: why for name, why in void.items() if why},
        "can_be_left_out": rule.ident not in ALWAYS,
        "checks": checks_of(rule.ident),
        "findings": [
            name
            for name, one in FINDINGS.items()
            if any(rule.ident in pattern.rules for pattern in one.patterns)
        ],
    }
