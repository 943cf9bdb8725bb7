"""A set of vectors on a set of versions and VM types, parallel steps under many schedules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from ...actors.release import RELEASES
from ...arch.registry import ARCHES
from ...engine.errors import Pruned
from ...engine.strategy import RandomStrategy
from .case import Case, applicable
from .known import explanation
from .rig import Unsupported
from .runner import MAX_STEPS, Verdict, build_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ...actors.kernel import Kernel
    from ...actors.release import Release
    from ...engine.engine import Engine
    from ...engine.task import Task
    from .vector import Vector

#: The vectors that come with the package: what selftests assert, and the calls around guest_memfd one by one.
EMBEDDED: Final = tuple(Path(__file__).parent / name for name in ("guest-memfd.jsonl", "kernel-calls.jsonl"))

#: States of a case with parallel steps that are looked at before schedules are drawn, for each schedule.
STATES: Final = 200


@attrs.frozen
class CaseResult:
    """One case.

    Attributes:
        schedules: how many were run; more than one only if the vector has parallel steps.
        states: different ones that a search of states met; 0: there was none.
        complete: every state was met.
        why: of a failure that is a decision of the model: the reason.
    """

    case: Case
    verdict: Verdict
    schedules: int
    why: str
    states: int = 0
    complete: bool = False


class Sampling(Protocol):
    """A strategy that may look at states first (`explore.strategies.complete_first`)."""

    sampled: int

    @property
    def states(self) -> int: ...

    @property
    def complete(self) -> bool: ...

    def begin(self, engine: Engine) -> bool: ...

    def pick(self, runnable: list[Task], current: Task | None) -> Task: ...

    def draw(self, task: Task, label: str, bound: int) -> int: ...


class _AtRandom(RandomStrategy):
    """Nothing but samples."""

    states = 0
    complete = False

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.sampled = 0

    def begin(self, engine: Engine) -> bool:
        self.sampled += 1
        return True


def judge(
    case: Case,
    *,
    schedules: int = 1,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    search: Callable[[], Sampling] | None = None,
) -> CaseResult:
    """Run a case; one with parallel steps under `schedules` sampled schedules, until one fails.

    Args:
        search: makes the strategy of a case with parallel steps; runs that are no samples of it do not count.
    """
    parallel = any(step.branches for step in case.vector.all_steps())
    strategy: Sampling = search() if parallel and search is not None else _AtRandom(seed)
    count = schedules if parallel else 1
    verdict = Verdict("passed")
    done = 0
    while strategy.sampled < count:
        try:
            run = build_case(case, strategy, max_steps=max_steps)
            run.engine.roots.append(run.rig)
            if not strategy.begin(run.engine):
                break
            done += 1
            verdict = run.verdict()
        except Pruned:
            continue
        except Unsupported as error:
            verdict = Verdict("unsupported", got=str(error))
        if verdict.result != "passed":
            break
    why = explanation(case.vector, case.vm_type, case.patch.name) if verdict.result == "failed" else ""
    return CaseResult(case, verdict, done, why, strategy.states, strategy.complete)


def cases(
    vectors: Iterable[Vector],
    patches: Iterable[type[Kernel]],
    vm_types: Iterable[str] | None = None,
    release: Release | None = None,
) -> Iterator[Case]:
    """Every vector that applies, version by version; one that applies nowhere yields nothing."""
    kinds = list(ARCHES) if vm_types is None else list(vm_types)
    for patch in patches:
        around = release or RELEASES[patch.default_release]
        for vector in vectors:
            for kind in kinds:
                if not applicable(vector, patch, kind, around):
                    yield Case(vector, patch, kind, around)
