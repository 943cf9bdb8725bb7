"""Litmus tests: every outcome of a small scenario, and for each of its conditions whether all, some or none meet it.

`never` and `always` are said of a complete search only; else it is `not seen` and `no exception seen`. Each answer
that is not about all outcomes has a witness, the replay token of a run that shows it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from ..explore.observables import MOST, check_names
from ..explore.program import ScenarioProgram
from ..explore.scope import nothing_ran, scope, scope_document
from ..explore.search import Limits
from ..explore.strategies import make_strategy
from ..explore.token import encode
from ..patches.entry import Entry
from ..scenarios.catalogue import LITMUS, find, litmus_names
from ..scenarios.scenario import Scenario
from .conditions import Condition, ConditionError
from .study import Asked, Interrupted, Plan, Result, Study, StudyError, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..explore.search import SearchResult

#: Of a scenario: each as it stands there, and checked.
Conditions = list[tuple[Any, Condition]]


@attrs.frozen
class Answer:
    """Of one condition on one version.

    Attributes:
        name, test: as the scenario has them.
        verdict: `always`, `sometimes`, `never`; `not seen` and `no exception seen` without a complete search.
        expected: what the scenario says (also `exists`, `forall`), or empty.
        meets, breaks: tokens of runs that meet the condition and that do not, or empty; `-`: there is such an outcome,
            and no run that ends with it.
        note: what is odd about the test, or empty.
    """

    name: str
    test: str
    verdict: str
    expected: str
    meets: str
    breaks: str
    note: str = ""

    @property
    def as_expected(self) -> bool:
        """Nothing was expected, or just this."""
        if self.expected == "exists":
            return bool(self.meets)
        return self.verdict == "always" if self.expected == "forall" else self.expected in ("", self.verdict)

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        fields = attrs.asdict(self)
        return {**fields, **{name: fields[name] or None for name in ("expected", "meets", "breaks", "note")}}

    @classmethod
    def of(cls, fields: dict[str, str | None]) -> Answer:
        """From what `as_dict` gave."""
        return cls(**{name: value or "" for name, value in fields.items()})

    @property
    def contradicts(self) -> bool:
        """What was seen rules the expected answer out, however the rest of a search that was cut short would end."""
        if self.expected == "forall":
            return bool(self.breaks)
        if self.verdict in ("not seen", "no exception seen") and self.expected != "exists":
            possible = {
                "sometimes",
                *(("always",) if not self.breaks else ()),
                *(("never",) if not self.meets else ()),
            }
            return bool(self.expected) and self.expected not in possible
        return not self.as_expected and self.verdict != "not seen"


@attrs.frozen
class Litmus:
    """A scenario on one version.

    Attributes:
        outcomes: what was observed, as JSON or the rule of a failure, with the token of a run that comes to it.
        count_to: where each count of an outcome stops.
    """

    search: SearchResult
    answers: tuple[Answer, ...]
    outcomes: dict[str, str]
    count_to: int

    @property
    def as_expected(self) -> bool | None:
        """No run failed, and every answer is the expected one; None: some are open."""
        if self.search.found or any(answer.contradicts for answer in self.answers):
            return False
        if nothing_ran(self.search) or not all(answer.as_expected for answer in self.answers):
            return None
        return True


@attrs.frozen(kw_only=True)
class LitmusTest(Entry):
    """A scenario with conditions."""

    scenario: Scenario


class LitmusTests(Study):
    """The conditions of each test have the answers that it expects of a version."""

    name = "litmus"

    def entries(self) -> dict[str, Entry]:
        return {name: _entry(find(name)) for name in litmus_names()}

    def find(self, name: str) -> list[Entry]:
        """A test with its short name, too; any scenario, of the library or of a file."""
        return [_entry(find(LITMUS + name if LITMUS + name in litmus_names() else name))]

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        assert isinstance(entry, LitmusTest)
        if not patches and not entry.versions:
            raise StudyError(f"{entry.name}: has no answers of its own; give --patch")
        if len(vm_types) > 1:
            raise StudyError("a litmus test is asked on one VM type; --arch can be given once")
        for patch in patches or entry.versions:
            for arch in vm_types or ("",):
                yield Asked(entry=entry, patch=patch, arch=arch)

    def sources(self, asked: Asked) -> str:
        assert isinstance(asked.entry, LitmusTest)
        text = asked.entry.scenario.source.text
        return f"{super().sources(asked)} {blake2b(text.encode(), digest_size=8).hexdigest()}"

    def ask(self, asked: Asked, plan: Plan) -> Result:
        assert isinstance(asked.entry, LitmusTest)
        program = ScenarioProgram(scenario=asked.entry.scenario, patch=asked.patch, arch=asked.arch or None)
        limits = Limits(schedules=None, seconds=plan.seconds, states=plan.states)
        found = run_litmus(program, limits, plan.observe)
        failures = [each.failure.summary for each in found.search.found]
        answers = [f"{answer.name}: {answer.verdict}" for answer in found.answers]
        result = Result(
            asked=asked,
            row={
                **scope_document(found.search),
                "failures": failures,
                "conditions": [answer.as_dict() for answer in found.answers],
                "count_to": found.count_to,
                "outcomes": [
                    {"outcome": outcome, "token": token} for outcome, token in sorted(found.outcomes.items())
                ],
            },
            verdict=scope(found.search),
            says="; ".join([*failures, *answers]),
            as_expected=found.as_expected,
            complete=found.search.complete,
        )
        if found.search.stopped == "interrupted":
            raise Interrupted(result)
        return result


def _entry(scenario: Scenario) -> LitmusTest:
    head = scenario.head
    return LitmusTest(
        name=scenario.name,
        title=head.summary,
        question=head.question,
        versions=versions_of(scenario),
        vm_types=tuple(head.vm_types),
        scenario=scenario,
    )


def conditions_of(program: ScenarioProgram) -> Conditions:
    """The conditions of the program's scenario, checked.

    Raises:
        ConditionError: one of them is none, or names what is never observed.
    """
    workload = program.scenario.resolve(program.parameters, vcpus=program.vcpus, small=program.small)
    tasks = frozenset(actor.name for actor in workload.actors)
    found = []
    for table in workload.document.condition:
        condition = Condition(table.text, tasks)
        wrong = check_names(condition.names - tasks)
        if wrong:
            raise ConditionError(f"{program.scenario.name}, condition {table.text!r}: {wrong}")
        found.append((table, condition))
    return found


def versions_of(scenario: Scenario) -> tuple[str, ...]:
    """Versions that a test has answers for, in its order."""
    document = scenario.resolve(small=True).document
    return tuple(dict.fromkeys(patch for condition in document.condition for patch in condition.expect))


def run_litmus(
    program: ScenarioProgram, limits: Limits, observe: Sequence[str] = (), *, strategy: str = "stateful"
) -> Litmus:
    """Find all outcomes, and answer the conditions.

    Args:
        observe: names to observe beside those of the conditions.

    Raises:
        ConditionError: see `conditions_of`.
    """
    conditions = conditions_of(program)
    program = attrs.evolve(
        asking(program, conditions, observe or ("results",) * (not conditions)), rules=frozenset()
    )
    result = look(
        program,
        make_strategy(strategy, program.seed),
        limits,
        cut_short=True,
        judge=None,
        keep_going=True,
        collect_outcomes=True,
    )
    tokens = tokens_of(program, result)
    return Litmus(result, answers_of(program, conditions, result, tokens), tokens, program.count_to)


def asking(program: ScenarioProgram, conditions: Conditions, observe: Sequence[str]) -> ScenarioProgram:
    """The program with outcomes made of `observe` and of what the conditions ask for.

    Counts that are shown go on; those that only conditions ask for stop where it no longer matters, and none before.
    """
    names = frozenset(observe).union(*(condition.names for _, condition in conditions))
    least = [MOST] if observe or not conditions else []
    count_to = max([*least, *(condition.count_to for _, condition in conditions)])
    return attrs.evolve(program, observed=names, count_to=count_to)


def tokens_of(program: ScenarioProgram, result: SearchResult) -> dict[str, str]:
    """For each outcome the replay token of a run that comes to it, if there is one."""
    return {outcome: encode(program, tape) for outcome, tape in result.witnesses.items()}


def answers_of(
    program: ScenarioProgram, conditions: Conditions, result: SearchResult, tokens: dict[str, str]
) -> tuple[Answer, ...]:
    """What the outcomes of a search say to each condition."""
    known = str(getattr(program.patch, "name", program.patch))
    return tuple(_answer(table, condition, known, result, tokens) for table, condition in conditions)


def _answer(
    table: Any, condition: Condition, patch: str, result: SearchResult, tokens: dict[str, str]
) -> Answer:
    meets, breaks = "", ""
    uncounted = set(condition.unsure)
    for outcome in result.outcomes:
        # A failure is an outcome of its own, which meets no condition.
        observed = msgspec.json.decode(outcome) if outcome.startswith("{") else None
        # A loop that nobody can leave has no token that ends.
        token = tokens.get(outcome) or "-"
        if observed is not None:
            uncounted -= {name for name in uncounted if observed[name]}
        if observed is not None and condition.holds(observed):
            meets = meets or token
        else:
            breaks = breaks or token
    if meets and breaks:
        verdict = "sometimes"
    elif meets:
        verdict = "always" if result.complete else "no exception seen"
    else:
        verdict = "never" if result.complete else "not seen"
    expected = "exists" if table.exists else "forall" if table.forall else table.expect.get(patch, "")
    return Answer(table.name, table.text, verdict, expected, meets, breaks, note=_mistyped(uncounted))


def _mistyped(names: set[str]) -> str:
    """What is said of names that no run counted and that may not be meant so; nothing if there are none."""
    if not names:
        return ""
    listed = ", ".join(sorted(names))
    return (
        f"no run counted {listed}: whether there is such a lock, or such a value of the event, is not checked"
    )
