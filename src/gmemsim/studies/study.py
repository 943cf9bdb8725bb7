"""What all studies have in common: a table of entries, each asked of versions on VM types, and one way to ask.

A study says which entries it has, where each is asked, and what comes of one search (`Study`); `survey` asks them all,
`registry` lists the studies.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..bad_input import BadInput
from ..engine.interrupts import deadline
from ..explore.campaign import LATE
from ..explore.judges.livelock import judge
from ..explore.search import search
from ..explore.token_names import patch_digest
from ..jobs.workers import tick
from ..nearest import hint
from ..patches.registry import load_patch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..explore.runs import Program
    from ..explore.search import Limits, SearchResult
    from ..explore.strategies.base import SearchStrategy
    from ..patches.entry import Entry

#: In place of a VM type: a lock is asked about, outside of any VM.
NO_VM: Final = "-"


class StudyError(BadInput):
    """A study cannot be asked so; one line."""


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@attrs.frozen(kw_only=True)
class Plan:
    """How a study is asked; each has its own defaults, and leaves alone what it has no use for.

    Attributes:
        strategies: as on the command line.
        repetitions: searches by a random strategy, each with a seed of its own.
        schedules: of a search.
        states: to look at in a search; where a study searches states first, 0 leaves that out.
        sampled: schedules drawn with POS where that was not all.
        seconds: wall-clock of a search.
        known: schedules where a known finding has to show.
        pages: of the file on which operations meet.
        observe: names to observe beside those that an entry asks for.
    """

    strategies: tuple[str, ...] = attrs.field(default=("portfolio",), converter=_several)
    repetitions: int = 1
    schedules: int = 200
    states: int = 0
    sampled: int = 0
    seconds: float | None = None
    known: int = 300
    pages: int = 1
    observe: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Asked:
    """An entry, asked of one version on one VM type.

    Attributes:
        part: which of several searches: a strategy, a case, a state of the page, a mend.
        about: that, as the study has it.
        expected: rules or findings of which one has to be met; empty: none has to.
        why_not: why it does not apply; empty if it does.
    """

    entry: Entry
    patch: str
    arch: str = ""
    part: str = ""
    about: Any = None
    expected: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What it is called in a state file, and to people."""
        return (self.entry.name, self.patch, self.arch, self.part)


@attrs.frozen(kw_only=True)
class Result:
    """What came of it.

    Attributes:
        row: all of it, as the study's JSON has it.
        verdict: in a few words.
        says: what was met or not, in a line or more.
        as_expected: None: the search was not complete, and it is open.
        complete: everything was looked at, within the bounds of the search.
        known: findings that were met.
        never: functions of a user's patch that did not run.
        errnos: what functions of it returned that they return in no version, a sentence each.
    """

    asked: Asked
    row: dict[str, Any]
    verdict: str
    says: str = ""
    as_expected: bool | None = True
    complete: bool = False
    known: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    errnos: tuple[str, ...] = ()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what there was of a result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result


class Study:
    """One of them; a subclass is a table and a search.

    Attributes:
        name: what is typed.
        unknown: what is said of an entry that there is not.
        listed: the command that lists the entries.
    """

    name: str
    unknown: str = "no entry {!r}"
    listed: str = ""

    def entries(self) -> Mapping[str, Entry]:
        """By name, in the order in which they are asked."""
        raise NotImplementedError

    def find(self, name: str) -> list[Entry]:
        """What somebody means who types this.

        Raises:
            StudyError: nothing.
        """
        known = self.entries()
        if name not in known:
            see = f"see `{self.listed}`" if self.listed else ""
            raise StudyError(f"{self.unknown.format(name)}; {hint(name, known, see)}")
        return [known[name]]

    def why_not(self, entry: Entry, patches: Sequence[str]) -> str:
        """Why nothing is asked of it; empty if something is."""
        return entry.why_not

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        """Where it is asked.

        Args:
            patches: versions, or patches of users; none: the entry's.
            vm_types: only these; none: all of the entry's.

        Raises:
            StudyError, PatchError, ScenarioError: it cannot be.
        """
        raise NotImplementedError

    def ask(self, asked: Asked, plan: Plan) -> Result:
        """Search; can be run in another process.

        Raises:
            KeyboardInterrupt: it was interrupted, and what was found so far says nothing.
            Interrupted: or it does.
        """
        raise NotImplementedError

    def sources(self, asked: Asked) -> str:
        """Another text when what is asked has changed: a result of before is none of it."""
        return "" if asked.arch == NO_VM else _sources_of(asked.patch)

    def wrong(self, results: Sequence[Result], *, whole: bool) -> list[Result]:
        """Those that are not as known.

        Args:
            whole: all that was asked was answered.
        """
        return [result for result in results if result.as_expected is False]


@cache
def _sources_of(patch: str) -> str:
    return patch_digest(load_patch(patch)).hex()


def look(
    program: Program, strategy: SearchStrategy, limits: Limits, *, cut_short: bool = False, **options: Any
) -> SearchResult:
    """One search of a study.

    Args:
        cut_short: the result of an interrupted one says something, too.
        options: of `search`.

    Raises:
        KeyboardInterrupt: the user's, or the campaign's.
    """
    with deadline(None if limits.seconds is None else limits.seconds + LATE):
        result = search(program, strategy, limits, progress=tick, **{"judge": judge, **options})
    if result.stopped == "interrupted" and not cut_short:
        raise KeyboardInterrupt
    return result
