"""Every rule that a report can name: the invariants, what the engine and other oracles look after, hardware's flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..bad_input import BadInput
from ..nearest import hint
from .hardware import FATAL_FLAGS
from .rules import RULES, Rule

_ENGINE: Final = "the engine"

_OTHERS: Final = (
    Rule(
        "guarded_by",
        "a field is written only with the lock held that the kernel asserts for it",
        "lockdep_assert_held of its writers",
        # Which lock. What comes of it: what I12 to I28 and linearizability speak of.
        kind="choice",
    ),
    Rule(
        "race", "accesses of two tasks that are not atomic are ordered by locks or messages", "vector clocks"
    ),
    Rule(
        "bounded_waiting",
        "who sleeps in a strict queue is passed over no more often than the lock promises",
        "queued spinning locks",
    ),
    Rule(
        "linearizability",
        "some order of the calls, each between its begin and its end, explains what they read",
        "the page's sequential model",
    ),
    Rule(
        "rwsem_promise",
        "an rw-semaphore's queue and holders agree with its promises between any two steps",
        "rwsem.md 8",
    ),
    Rule(
        "deadlock",
        "every unfinished task waits for something that no one will do",
        f"{_ENGINE}: nobody can run",
    ),
    Rule(
        "lost_wakeup",
        "whoever waits for what is free is woken",
        f"{_ENGINE}: nobody can run, and nothing is in the way",
    ),
    Rule("livelock", "some call ends again and again", f"{_ENGINE}: a loop of states that no step leaves"),
    Rule(
        "step_limit",
        "every call ends",
        f"{_ENGINE}: more steps than allowed, so a livelock or a limit set too low",
    ),
    Rule(
        "unexpected_outcome", "every call comes to what the workload expects of it", "the operation's expect"
    ),
    Rule(
        "illegal_access",
        "nothing is accessed against the rules of the hardware",
        "the arch actor's flags, where no other rule is looked after",
    ),
    Rule("crash", "model code raises no exception", "the model, or the patch"),
    Rule(
        "model_error",
        "model code keeps the rules of the engine",
        f"{_ENGINE}: a lock released that is not held, …",
    ),
)

_FLAGS: Final = tuple(
    Rule(rule, f"no access sets the flag {flag}: {says}", "the arch actor: what the hardware punishes")
    for flag, (rule, says) in FATAL_FLAGS.items()
    if rule.startswith("arch:")
)

#: By id, invariants first.
EVERY_RULE: Final[dict[str, Rule]] = {**RULES, **{rule.ident: rule for rule in (*_OTHERS, *_FLAGS)}}

#: Rules that cannot be left out: a run that broke one has nothing left to do.
ALWAYS: Final = frozenset({"deadlock", "lost_wakeup", "livelock", "step_limit", "crash", "model_error"})


class UnknownRule(BadInput, ValueError):
    """No rule of that name, or one that cannot be left out. One line for the user."""


def rule_named(ident: str) -> Rule:
    """The rule of that id.

    Raises:
        UnknownRule: with the nearest ids.
    """
    rule = EVERY_RULE.get(ident)
    if rule is None:
        raise UnknownRule(f"no rule {ident!r:.80}; {hint(ident, EVERY_RULE, 'see `gmemsim list rules`')}")
    return rule


def is_choice(ident: str) -> bool:
    """Whether a rule restates the choice of a lock or an order."""
    return ident in EVERY_RULE and EVERY_RULE[ident].kind == "choice"


def left_out(rules: str | Iterable[str]) -> frozenset[str]:
    """Ids of rules that are not to be looked after, as a set or with commas between them.

    Raises:
        UnknownRule: one is not there, or has to be looked after.
    """
    idents = [part.strip() for part in rules.split(",")] if isinstance(rules, str) else list(rules)
    for ident in idents:
        rule_named(ident)
        if ident in ALWAYS:
            raise UnknownRule(f"{ident} cannot be left out: a run that comes to it does not go on")
    return frozenset(idents)


def versions_of(rule: Rule) -> dict[str, str]:
    """Why the rule does not apply, by version; empty if it does."""
    from ..patches.registry import versions

    return {name: rule.void(cls) for name, cls in versions().items()}
