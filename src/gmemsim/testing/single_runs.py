"""What of a patch of one's own ran in the single runs of a test, all together.

Hypothesis makes many runs, each by a call of `run_once` or with a `GmemMachine` of its own. That a function did not run
in one of them is nothing; that it ran in none is to be said, once the test is over. The pytest plugin asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..patches.entered import Entered, never_ran, without_faults

if TYPE_CHECKING:
    from collections.abc import Iterator


class NeverRan(UserWarning):
    """A function of a patch of your own never ran in what found nothing."""


@attrs.define
class _Runs:
    entered: Entered
    count: int = 0


#: By the patch and what was looked for in it; since the test began.
_noted: dict[object, _Runs] = {}


def note(patch: object, entered: Entered) -> None:
    """A run of a patch is over."""
    runs = _noted.setdefault((patch, entered.functions), _Runs(entered))
    runs.entered = runs.entered.joined(entered)
    runs.count += 1


def forget() -> None:
    """A test begins."""
    _noted.clear()


def told() -> Iterator[str]:
    """A sentence for each patch with a function that ran in no run since the test began."""
    for runs in _noted.values():
        if text := never_ran(
            without_faults(runs.entered.never), f"{runs.count:,} run{'s' * (runs.count != 1)}"
        ):
            yield text
