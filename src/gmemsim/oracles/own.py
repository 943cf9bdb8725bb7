"""Rules of a user's own: a class with its rules and the checks on them, looked at beside the invariants.

A class is made known by `adopted` (the command line's `--oracle`, an `oracles=` of `gmemsim.check`): from then on
reports, `--without` and tokens know its rules by name. A check that fails by itself is no answer about the patch: it
ends the command (`OracleError`), and never counts as a failure that was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, wraps
from inspect import iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from ..audit.base import Event
from ..engine.blame import blame, interrupted, said
from ..engine.interrupts import NoStep
from ..patches.user_file import PatchError, class_in
from .every_rule import EVERY_RULE
from .exact import Exact
from .rules import Rule
from .violation import Violation
from .watch import Shared, Subject, watches

if TYPE_CHECKING:
    from ..engine.task import Task

_IDENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}")
#: Names of our own rules, before any user's is known.
_OURS: Final = frozenset(EVERY_RULE)
_owners: dict[str, type[Oracle]] = {}


class OracleError(PatchError):
    """A user's check failed by itself, so that nothing can be said of the run; one line with file and line."""


class Oracle(Subject):
    """Base of a user's rules; `docs/extend.md` has one of each kind.

    What it remembers of a run are attributes of `self`: every run makes a new object, and a search of states takes them
    back with the rest. It looks, and changes nothing.

    Attributes:
        rules: what it looks after. The name of each is that of `--without`, reports and tokens.
        exact: what its silence is worth under a search that does not run every schedule (see `exact`).
        world, kernel: of the run: VMs by label, inodes, processes; the patch.
        ledger: what the oracles remember of every frame and task.
        fail: `self.fail(rule, summary, task, event, **details)` ends the run as a failure.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()
    exact: ClassVar[Exact] = Exact(
        caching=True,
        reduction=False,
        why="attributes of the object are state; a check may look at more than the step that it runs in touches",
    )

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        declared = rules_of(type(self))

        def fail(
            rule: str, summary: str, task: Task | None = None, event: Event | None = None, **details: Any
        ) -> None:
            if rule not in declared:
                raise ValueError(f"{rule!r} is none of its rules, which are: {', '.join(sorted(declared))}")
            oracles.fail(rule, " ".join(str(summary).split()), task, event, **details)

        self.fail = fail


def rules_of(cls: type[Oracle]) -> frozenset[str]:
    """Names of its rules."""
    return frozenset(rule.ident for rule in cls.rules)


def adopted(given: str | type[Oracle] | Iterable[str | type[Oracle]]) -> tuple[type[Oracle], ...]:
    """The classes, by themselves or as `path/to/file.py:Class`, their rules known from now on.

    Raises:
        PatchError: no such class, or one whose checks could not be trusted.
    """
    names = (given,) if isinstance(given, str | type) else tuple(given)
    classes = dict.fromkeys(_class(each) for each in names)
    for cls in classes:
        for rule in cls.rules:
            owner = _owners.get(rule.ident)
            if owner in classes and owner is not cls:
                raise PatchError(f"{cls.__name__}: rule {rule.ident} is one of {owner.__name__} already")
            EVERY_RULE[rule.ident] = rule
            _owners[rule.ident] = cls
    return tuple(classes)


def _class(given: Any) -> type[Oracle]:
    if isinstance(given, str):
        cls, path = class_in(given, Oracle, "no oracle", "derive it from gmemsim.extend.Oracle")
        where = f"{path}: {cls.__name__}"
    elif isinstance(given, type) and issubclass(given, Oracle):
        cls, where = given, given.__name__
    else:
        raise PatchError(f"expected a class derived from gmemsim.extend.Oracle, got {given!r:.80}")
    checked: Any = cls
    if wrong := _wrong(checked):
        raise PatchError(f"{where}{wrong}")
    return cls


@cache
def _wrong(cls: Any) -> str:
    """Why its checks would never run, or run for nothing; empty: they are fine."""
    rules: Any = cls.rules
    exact: Any = cls.exact
    if not isinstance(rules, tuple) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        return ".rules: expected a tuple of at least one gmemsim.extend.Rule"
    if not isinstance(exact, Exact):
        return f".exact: expected a gmemsim.extend.Exact, got {exact!r:.60}"
    for rule in rules:
        if not isinstance(rule.ident, str) or not _IDENT.fullmatch(rule.ident):
            return f": rule {rule.ident!r:.80}: expected a letter, then letters, digits, - or _, 60 at most"
        if rule.ident in _OURS or re.fullmatch(r"I\d+", rule.ident):
            return f": rule {rule.ident} is one of gmemsim's own; give it another name"
        if not (isinstance(rule.says, str) and rule.says.isprintable() and isinstance(rule.source, str)):
            return f": rule {rule.ident}: expected texts of one line in says and source"
        if rule.kind not in ("harm", "choice"):
            return f": rule {rule.ident}: expected the kind harm or choice, got {rule.kind!r:.40}"
    names = rules_of(cls)
    if len(names) < len(rules):
        return ".rules: two of them have one name"
    looked: set[str] = set()
    defined = [(name, each) for owner in cls.__mro__ for name, each in vars(owner).items()]
    marked = {name for name, each in defined if hasattr(getattr(each, "__func__", each), "watches")}
    for name in sorted(marked - {name for name, _ in watches(cls)}):
        return f".{name}: marked, and would not run: a function of the class, neither static nor overridden, is called"
    for name, watch in watches(cls):
        member: Any = getattr(cls, name)
        if iscoroutinefunction(member) or isgeneratorfunction(member):
            return f".{name}: expected a plain function; nobody would await it"
        if watch.rule and watch.rule not in names:
            return f".{name}: looks after {watch.rule!r:.60}, which is none of its rules ({', '.join(names)})"
        if watch.phase != "rest" and not watch.events:
            return f".{name}: expected at least one event to look at"
        for event in cast("tuple[Any, ...]", watch.events):
            if not (isinstance(event, type) and issubclass(event, Event)):
                return f".{name}: expected classes of events, got {event!r:.60}"
        looked.add(watch.rule)
    for rule in rules:
        if rule.ident not in looked:
            return f": nothing looks after rule {rule.ident}: mark a function with before, after or at_rest"
    return ""


def checks_by_name(classes: Iterable[type[Oracle]]) -> tuple[str, ...]:
    """Every check of the classes as `Class.function`, bookkeeping included."""
    return tuple(dict.fromkeys(f"{cls.__name__}.{name}" for cls in classes for name, _ in watches(cls)))


def guarded(check: Callable[..., None], entered: Callable[[str], None]) -> Callable[..., None]:
    """A bound check of a user's class: that it ran is told, and an error of its own is no failure of the run."""
    owner = type(check.__self__).__name__  # type: ignore[attr-defined] # a bound method
    name = f"{owner}.{check.__name__}"

    @wraps(check)
    def call(*args: Any) -> None:
        entered(name)
        try:
            check(*args)
        except Violation:
            raise
        except BaseException as error:
            if interrupted(error):
                raise
            found = blame(error)
            place = f"{found.path}:{found.line}: " if found is not None else ""
            what = "does not come back" if isinstance(error, NoStep) else said(error)
            raise OracleError(
                f"{place}{what} (in {name}): the check failed by itself, so nothing is known of the run"
            ) from error

    return call
