"""What the commands of all studies have in common: options, the run, exit codes.

Each study has its command, and how it is shown, in a module of its own; `study` makes one family of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import click

from ..nearest import hint
from .errors import INTERRUPTED, UNDECIDED, VIOLATION, Command, InputError
from .output import console, print_json, say, table
from .output_files import check_writable
from .params import COUNT, FILE, SECONDS, known_strategy
from .program import input_errors
from .progress import counted, one_interrupt
from .verdicts import Verdict, verdict_options, write_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..patches.entry import Entry
    from ..studies.study import Plan, Result
    from ..studies.survey import Survey
    from .progress import Counted

    Document = Callable[[Survey], Any]
    Show = Callable[[Survey], None]
    ShowEntry = Callable[[Survey, Entry], None]

_ANY: Final = click.IntRange(min=0)

#: By field of `Plan`: names and type of its option, and what it says.
_OPTIONS: Final[dict[str, tuple[tuple[str, ...], Any, str]]] = {
    "strategies": (("--strategy",), str, "See `gmemsim list strategies`; `pct:3`."),
    "repetitions": (("--repetitions",), COUNT, "Searches of a random strategy."),
    "states": (("--states", "--max-states"), _ANY, "To look at, of a search."),
    "schedules": (("--schedules",), COUNT, "Of a search."),
    "sampled": (("--sampled",), _ANY, "Schedules to draw where those were not all."),
    "known": (("--known",), COUNT, "Schedules where a known finding has to show."),
    "seconds": (("--seconds", "--max-seconds"), SECONDS, "Wall-clock, of a search."),
    "pages": (("--pages",), click.IntRange(1, 2), "Of the file on which they meet."),
    "observe": (("--observe",), str, "Observe this name, too; see docs/litmus.md."),
}


def study_command(
    name: str,
    text: str,
    entries: str = "[NAME]...",
    *,
    document: Document | None = None,
    show: Show | None = None,
    show_entry: ShowEntry | None = None,
    **plan: Any,
) -> click.Command:
    """The command of a study.

    Args:
        text: its help.
        entries: what the help calls names of entries.
        document: the results as JSON; default: a list of their rows.
        show: the same for people, in the end; default: a table, a row a result.
        show_entry: or one by one, as soon as an entry is through.
        plan: defaults of the fields that its options set.
    """

    @click.pass_context
    def run(ctx: click.Context, /, **values: Any) -> None:
        from ..studies.study import Plan

        fields = {field: values.pop(field) for field in plan}
        code = ask(
            name,
            Plan(**fields),
            document=document or _rows,
            show=show or (_table if show_entry is None else None),
            show_entry=show_entry,
            **values,
        )
        if code:
            ctx.exit(code)

    command = click.command(name, help=text, cls=Command)(run)
    options = [
        click.Argument(["entries"], nargs=-1, metavar=entries),
        click.Option(
            ["--patch", "--base", "patches"] if name == "zoo" else ["--patch", "patches"],
            multiple=True,
            help="Ask of this version or path/to/file.py:Class; can be repeated.  [default: the study's versions]",
        ),
        click.Option(["--arch", "vm_types"], multiple=True, help="Only on this VM type; can be repeated."),
    ]
    for field, default in plan.items():
        names, kind, says = _OPTIONS[field]
        many = isinstance(default, tuple)
        options.append(
            click.Option(
                [*names, field],
                type=kind,
                multiple=many,
                default=default,
                show_default=bool(default),
                help=says,
                metavar="NAME" if field == "observe" else None,
                callback=known_strategy if field == "strategies" else None,
            )
        )
    options += [
        click.Option(["--cells"], type=COUNT, help="Ask only so many of all searches, drawn at random."),
        click.Option(["--seed"], type=int, default=0, show_default=True, help="Of --cells."),
        click.Option(["--jobs"], type=COUNT, default=1, show_default=True, help="Processes."),
        click.Option(
            ["--stop-after"],
            type=SECONDS,
            help="Wall-clock: no search is handed out after that; exit code 2 if some are left, unless it is 1.",
        ),
        click.Option(["--state"], type=FILE, help="Keep finished searches here, and go on from there."),
    ]
    command.params += options
    verdict_options(command)
    command.params.append(click.Option(["--json", "as_json"], is_flag=True, help="One JSON document."))
    return command


def ask(
    name: str,
    plan: Plan,
    *,
    entries: tuple[str, ...],
    document: Document,
    show: Show | None,
    show_entry: ShowEntry | None = None,
    patches: tuple[str, ...] = (),
    vm_types: tuple[str, ...] = (),
    cells: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    stop_after: float | None = None,
    state: Path | None = None,
    ktap: Path | None = None,
    junit: Path | None = None,
    as_json: bool = False,
) -> int:
    """Ask a study and tell what came of it; the exit code.

    Raises:
        InputError: it cannot be asked so, or a process was lost.
    """
    from ..engine.interrupts import deaf
    from ..jobs.share import place
    from ..jobs.workers import WorkerKilled
    from ..studies.registry import STUDIES
    from ..studies.survey import Survey, open_state
    from .running import user_error

    check_writable(ktap, junit, inputs=(*patches, str(state or "")))
    study = STUDIES[name]
    _check(plan, vm_types)
    interrupted = False
    killed: WorkerKilled | None = None
    with ExitStack() as stack:
        stack.enter_context(one_interrupt())
        stack.enter_context(input_errors())
        stack.enter_context(user_error(*patches))
        survey = Survey(study, plan, entries, patches, vm_types, cells=cells, seed=seed)
        kept = None if state is None else stack.enter_context(open_state(state, study, survey.plan))
        where = stack.enter_context(place(jobs, None))
        progress = stack.enter_context(counted(name, len(survey.asked)))
        entries_shown = _Entries(survey, None if as_json else show_entry, progress)
        progress(0)
        try:
            entries_shown.tell()
            for done, result in enumerate(
                survey.run(where, kept, monotonic() + (inf if stop_after is None else stop_after)), 1
            ):
                progress(done, _name(result))
                entries_shown.tell()
        except KeyboardInterrupt:
            interrupted = True
        except WorkerKilled as error:
            killed = error
        with deaf():
            entries_shown.tell(cut_short=True)
    with deaf():
        missing = len(survey.asked) - len(survey.results)
        write_verdicts(name, _verdicts(survey), missing, ktap=ktap, junit=junit)
        if as_json:
            print_json(document(survey))
        elif show is not None:
            show(survey)
        _tell_patches(survey)
        _tell_left(0 if interrupted else missing, stop_after)
    lost = f"{killed}; {len(survey.results)} of {len(survey.asked)} searches were done before that"
    if survey.wrong:
        if killed is not None:
            click.echo(f"gmemsim: {lost}", err=True)
        return VIOLATION
    if interrupted:
        return INTERRUPTED
    if killed is not None:
        raise InputError(lost)
    open_ = missing or any(result.as_expected is None for result in survey.results)
    return UNDECIDED if open_ else 0


class _Entries:
    """Shows one entry after the other, as soon as it is through."""

    def __init__(self, survey: Survey, show: ShowEntry | None, progress: Counted) -> None:
        self._survey = survey
        self._show = show
        self._progress = progress
        self._left = list(survey.entries) if show else []

    def tell(self, *, cut_short: bool = False) -> None:
        """Show what is through, in order; at the end, if it was cut short, what there is of the others."""
        survey = self._survey
        while self._left and (cut_short or survey.through(self._left[0])):
            entry = self._left.pop(0)
            if self._show is not None and (survey.of(entry) or survey.through(entry)):
                with self._progress.aside():
                    self._show(survey, entry)


def _check(plan: Plan, vm_types: tuple[str, ...]) -> None:
    from ..arch.registry import ARCHES
    from ..explore.observables import check_names

    wrong = check_names(frozenset(plan.observe))
    if wrong:
        raise click.BadParameter(wrong, param_hint="--observe")
    for kind in vm_types:
        if kind not in ARCHES:
            raise InputError(f"--arch {kind}: {hint(kind, ARCHES)}")


def _verdicts(survey: Survey) -> Iterator[Verdict]:
    wrong = {result.asked.key for result in survey.wrong}
    for result in survey.results:
        failed = result.asked.key in wrong
        open_ = result.asked.why_not or (result.as_expected is None and not failed)
        text = "; ".join(filter(None, (result.verdict, result.says)))
        yield Verdict(_name(result), "skipped" if open_ else "failed" if failed else "passed", text)
    for entry, why in survey.skipped:
        yield Verdict(entry.name, "skipped", why)


def _name(result: Result) -> str:
    return ", ".join(filter(None, result.asked.key))


def _rows(survey: Survey) -> list[dict[str, Any]]:
    return [result.row for result in survey.results]


def _table(survey: Survey) -> None:
    """What is not as known, then how many were asked of each version and VM type, and how far the searches went."""
    for result in survey.wrong:
        say(f"{_name(result)}: {result.says or 'did not show ' + ', '.join(result.asked.expected)}")
    numbers = ("searches", "as known", "complete")
    headings = ("version", "VM type", *numbers, "known findings")
    shown = table(survey.study.name, headings, numbers=numbers)
    wrong = {result.asked.key for result in survey.wrong}
    places: dict[tuple[str, str], list[Result]] = {}
    for result in survey.results:
        places.setdefault((result.asked.patch, result.asked.arch), []).append(result)
    for (patch, arch), here in places.items():
        known = sorted({ident for result in here for ident in result.known})
        shown.add_row(
            patch,
            arch,
            f"{len(here):,}",
            f"{sum(result.asked.key not in wrong for result in here):,}",
            f"{sum(result.complete for result in here):,}",
            ", ".join(known),
        )
    console().print(shown)
    left = len(survey.asked) - len(survey.results)
    say(
        f"{len(survey.results):,} searches{f', {left:,} not done' if left else ''}; `as known` are those in which only "
        "known findings were met. That is said of what was run: a search that is not complete has more schedules."
    )


def _tell_left(missing: int, stop_after: float | None) -> None:
    if missing and stop_after is not None:
        click.echo(f"gmemsim: {missing} searches are left (--stop-after {stop_after:g})", err=True)


def _tell_patches(survey: Survey) -> None:
    """What never ran of users' patches, and which errnos are their own, on stderr."""
    from ..patches.entered import never_ran

    for patch in survey.patches:
        here = [
            result for result in survey.results if result.asked.patch == patch and not result.asked.why_not
        ]
        if not here:
            continue
        name = survey.entries[0].name
        runs = f"{survey.study.name} {name}" if name.isdigit() else name
        if len(survey.entries) > 1:
            runs = "any of these searches"
        never = [name for name in here[0].never if all(name in result.never for result in here)]
        errnos = sorted({line for result in here for line in result.errnos})
        for line in (*([never_ran(tuple(never), runs)] if never else []), *errnos):
            click.echo(f"{patch}: {line}", err=True)
