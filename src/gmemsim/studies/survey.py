"""Asking a study: by several processes, as far as Ctrl-C lets it, going on from a state file, of users' patches too."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from itertools import takewhile
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from .. import __version__
from ..jobs.share import share
from ..jobs.state_file import StateFile
from ..patches.entered import watch_overrides
from ..patches.registry import load_patch, named
from .study import NO_VM, Result, StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..jobs.share import Place
    from ..patches.entry import Entry
    from .study import Asked, Plan, Study

    State = StateFile[tuple[str, ...]]

#: Of state files.
_SCHEMA: Final = 1


class Survey:
    """What a study comes to, as far as it was asked.

    Attributes:
        entries: those that were named, else all.
        patches: that were named; none: each entry's versions are asked.
        asked: everything that is to be asked.

    Args:
        names: of entries, as somebody types them; none: all.
        vm_types: only on these; none: on all of the entry's.
        cells: ask only so many, drawn at random with `seed`.

    Raises:
        StudyError, PatchError, ScenarioError: it cannot be asked so.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        names: Sequence[str] = (),
        patches: Sequence[str] = (),
        vm_types: Sequence[str] = (),
        *,
        cells: int | None = None,
        seed: int = 0,
    ) -> None:
        self.study = study
        self.plan = plan
        self.patches = tuple(dict.fromkeys(patches))
        found = [entry for name in names for entry in study.find(name)] or study.entries().values()
        self.entries: list[Entry] = list({entry.name: entry for entry in found}.values())
        kinds = tuple(dict.fromkeys(vm_types))
        every = [one for entry in self.entries for one in study.asked(entry, self.patches, kinds, plan)]
        if not every and not self.skipped:
            raise StudyError("nothing to ask: what was named is not for these versions and VM types")
        if cells is not None:
            every = [one for one in every if not one.why_not]
            chosen = random.Random(seed).sample(range(len(every)), min(cells, len(every)))
            every = [every[number] for number in sorted(chosen)]
        self.asked: list[Asked] = every
        self._by_key: dict[tuple[str, ...], Result] = {}

    @property
    def results(self) -> list[Result]:
        """Those that there are, in the order in which they were to be asked."""
        return [self._by_key[one.key] for one in self.asked if one.key in self._by_key]

    @property
    def whole(self) -> bool:
        """Whether all is answered."""
        return len(self._by_key) == len(self.asked)

    @property
    def wrong(self) -> list[Result]:
        """Results that are not as known."""
        return self.study.wrong(self.results, whole=self.whole)

    @property
    def skipped(self) -> list[tuple[Entry, str]]:
        """Entries that are not asked at all, and why."""
        whys = ((entry, self.study.why_not(entry, self.patches)) for entry in self.entries)
        return [(entry, why) for entry, why in whys if why]

    def of(self, entry: Entry) -> list[Result]:
        """Results of one entry."""
        return [result for result in self.results if result.asked.entry.name == entry.name]

    def through(self, entry: Entry) -> bool:
        """Whether all is answered that is asked of it."""
        return all(one.key in self._by_key for one in self.asked if one.entry.name == entry.name)

    def run(self, where: Place, kept: State | None = None, until: float = inf) -> Iterator[Result]:
        """Ask; each result as it comes, those first that a state file has.

        Args:
            until: no search is begun after that (`time.monotonic`).

        Raises:
            KeyboardInterrupt: the user's; what was answered before is there.
            WorkerKilled: a process is gone.
        """
        left = []
        for one in self.asked:
            if one.why_not:
                yield self._add(one, self.study.ask(one, self.plan))
                continue
            line = msgspec.convert(kept.results[one.key], _Line) if kept and one.key in kept.results else None
            if line is not None and line.sources == self.study.sources(one):
                yield self._add(one, Result(asked=one, **{name: getattr(line, name) for name in _KEPT}))
            else:
                left.append(one)
        mine = {one.key: one for one in left}
        try:
            in_time = takewhile(lambda _: monotonic() < until, left)
            for result in share(partial(answer, self.study, self.plan), in_time, where):
                if kept is not None:
                    values: dict[str, Any] = {name: getattr(result, name) for name in _KEPT}
                    sources = self.study.sources(mine[result.asked.key])
                    kept.add(msgspec.to_builtins(_Line(key=result.asked.key, sources=sources, **values)))
                yield self._add(mine[result.asked.key], result)
        except KeyboardInterrupt as stop:
            # Not a finished search, so not in the state; what it found is found all the same.
            if isinstance(part := getattr(stop, "result", None), Result):
                self._add(mine[part.asked.key], part)
            raise

    def _add(self, asked: Asked, result: Result) -> Result:
        # That of another process has a copy of the entry.
        self._by_key[asked.key] = result = attrs.evolve(result, asked=asked)
        return result


def answer(study: Study, plan: Plan, asked: Asked) -> Result:
    """Ask once, and say what of a user's patch ran.

    Raises:
        PatchError: a run of the patch leaves something behind for the next.
    """
    with ExitStack() as stack:
        entered = None
        if asked.arch != NO_VM and not named(asked.patch):
            entered = stack.enter_context(watch_overrides(load_patch(asked.patch)))
        result = study.ask(asked, plan)
    if entered is None:
        return result
    entered.refuse_state()
    return attrs.evolve(result, never=entered.never, errnos=tuple(sorted(entered.errnos)))


class _Line(msgspec.Struct):
    """A result in a state file.

    Attributes:
        sources: of what was asked (`Study.sources`); where they changed it is asked again.
    """

    key: tuple[str, ...]
    sources: str
    row: dict[str, Any]
    verdict: str
    says: str
    as_expected: bool | None
    complete: bool = False
    known: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    errnos: tuple[str, ...] = ()


_KEPT: Final = _Line.__struct_fields__[2:]


def open_state(path: Path, study: Study, plan: Plan) -> State:
    """The state file of a study that is asked in this way.

    Raises:
        StateError: the file is of another study or plan, in use, or no state file at all.
    """
    fields = attrs.asdict(plan)
    lists = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
    header = {"schema": _SCHEMA, "version": __version__, **fields, **lists}
    return StateFile(path, f"study {study.name}", header, _Line, lambda line: line.key)
