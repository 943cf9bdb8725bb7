"""A set of vectors on a set of versions and VM types, parallel steps under many schedules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from ...actors.release import RELEASES
from ...arch.registry import ARCHES
from ...engine.strategy import RandomStrategy
from .known import explanation
from .rig import Unsupported
from .runner import MAX_STEPS, Case, Verdict, applicable, build_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...actors.kernel import Kernel
    from ...actors.release import Release
    from .vector import Vector

__all__ = ["EMBEDDED", "CaseResult", "cases", "judge"]

#: The vectors that come with the package: what selftests assert, and the calls around guest_memfd one by one.
EMBEDDED: Final = tuple(Path(__file__).parent / name for name in ("guest-memfd.jsonl", "kernel-calls.jsonl"))


@attrs.frozen
class CaseResult:
    """One case.

    Attributes:
        schedules: how many were run; more than one only if the vector has parallel steps.
        why: of a failure that is a decision of the model: the reason.
    """

    case: Case
    verdict: Verdict
    schedules: int
    why: str


def judge(case: Case, *, schedules: int = 1, seed: int = 0, max_steps: int = MAX_STEPS) -> CaseResult:
    """Run a case; one with parallel steps under `schedules` random schedules, until one fails."""
    count = schedules if any(step.branches for step in case.vector.all_steps()) else 1
    verdict = Verdict("passed")
    done = 0
    for number in range(count):
        done += 1
        try:
            run = build_case(case, RandomStrategy(seed + number), max_steps=max_steps)
            verdict = run.verdict()
        except Unsupported as error:
            verdict = Verdict("unsupported", got=str(error))
        if verdict.result != "passed":
            break
    why = explanation(case.vector, case.vm_type, case.patch.name) if verdict.result == "failed" else ""
    return CaseResult(case, verdict, done, why)


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
