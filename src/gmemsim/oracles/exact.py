"""What an oracle's silence is worth under a search that does not run every schedule.

A search that *caches* states cuts a run where it comes to a known state. An oracle is exact under it if whatever it
remembers is part of the state (`__digest__`, or the ledger). A search that *reduces* runs one of several schedules that
differ in the order of independent steps only. An oracle is exact under it if it gives the same verdict on all of them.
What is not exact is left out of the claim of a complete search, by name; what it finds is true all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen(kw_only=True)
class Exact:
    """Of an oracle.

    Attributes:
        caching: under a search that caches states.
        reduction: under a search that reduces schedules by the independence of steps.
        why: the reason for either.
    """

    caching: bool
    reduction: bool
    why: str


@attrs.frozen
class LookedAt:
    """One oracle in a run: the rules that it looks after, and what its silence is worth."""

    rules: tuple[str, ...]
    exact: Exact


def in_short(rules: Iterable[str]) -> str:
    """Names of rules in one line, neighbouring numbers of invariants drawn together: `I1 to I8, I10, deadlock`."""
    rules = tuple(rules)
    numbers = sorted({int(rule[1:]) for rule in rules if rule[0] == "I" and rule[1:].isdigit()})
    parts: list[str] = []
    while numbers:
        first = last = numbers.pop(0)
        while numbers and numbers[0] == last + 1:
            last = numbers.pop(0)
        if last > first + 1:
            parts.append(f"I{first} to I{last}")
        else:
            parts += [f"I{number}" for number in range(first, last + 1)]
    others = [rule for rule in dict.fromkeys(rules) if not (rule[0] == "I" and rule[1:].isdigit())]
    return ", ".join((*parts, *others))
