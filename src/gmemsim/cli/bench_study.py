"""`gmemsim bench study`: a design question, answered by storms."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..nearest import hint
from .bench_run import Ways, campaign_options
from .errors import Command, InputError, Interrupted
from .output import LIMITS, console, print_json
from .output_files import check_writable, write_whole
from .progress import counted

if TYPE_CHECKING:
    from ..contention.questions.runner import Answer, Cell


@click.command("study", cls=Command)
@click.argument("question", required=False)
@click.option("--no-sweep", is_flag=True, help="Default costs only: seconds, and nothing on what survives.")
@click.option(
    "--page",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Write the page and its picture to this directory.",
)
@campaign_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def study(
    question: str | None,
    no_sweep: bool,
    page: Path | None,
    state: Path | None,
    jobs: int,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Answer QUESTION (Q1, Q3, …) with figures, and say whether the answer survives the uncertain costs.

    Without a question: the list of them. A claim is a sentence with a test; it is tested with the default costs and in
    every corner of those that are uncertain.
    """
    from ..contention.questions.registry import STUDIES

    if question is None:
        for key, each in STUDIES.items():
            click.echo(f"{key:<4} {each.slug}: {each.question}")
        return
    if question not in STUDIES:
        raise InputError(f"{question}: {hint(question, STUDIES)}")
    found = STUDIES[question]
    paths = [page / f"{found.slug}{ending}" for ending in (".md", ".svg")] if page else []
    check_writable(*paths, inputs=[str(state or "")])
    told = _answer(question, not no_sweep, Ways(state, jobs, cluster))
    if paths:
        _write(told, paths)
    if as_json:
        print_json(_document(told))
    else:
        _show(told)


def _answer(question: str, sweep: bool, ways: Ways) -> Answer:
    from ..contention.questions.registry import STUDIES
    from ..contention.questions.runner import answer, cells, open_state, run_cell
    from ..jobs.share import place, share
    from ..jobs.workers import WorkerKilled

    wanted = cells(STUDIES[question], sweep)
    values: dict[Cell, dict[str, float]] = {}
    with ExitStack() as stack:
        kept = stack.enter_context(open_state(ways.state)) if ways.state is not None else None
        where = stack.enter_context(place(ways.jobs, ways.cluster))
        if kept is not None:
            values = {cell: kept.results[cell]["values"] for cell in wanted if cell in kept.results}
        say = stack.enter_context(counted(f"study {question}", len(wanted)))
        missing = [cell for cell in wanted if cell not in values]
        try:
            for done in share(run_cell, missing, where):
                values[_key(done)] = done["values"]
                if kept is not None:
                    kept.add(done)
                say(len(values))
        except KeyboardInterrupt:
            raise Interrupted from None
        except WorkerKilled as error:
            raise InputError(
                f"{error}; {len(values):,} of {len(wanted):,} cells were finished before that"
            ) from None
    return answer(STUDIES[question], values)


def _key(done: dict[str, Any]) -> Cell:
    from ..contention.questions.runner import cell_of

    return cell_of(done)


def _write(told: Answer, paths: list[Path]) -> None:
    from ..contention.questions.picture import to_svg
    from ..contention.questions.runner import markdown

    charts = told.study.charts(told.found)
    try:
        picture = to_svg(charts) if charts else b""
    except ImportError:
        raise InputError("--page needs matplotlib: pip install 'gmemsim[plot]'") from None
    write_whole(paths[0], markdown(told, paths[1].name if picture else "").encode())
    if picture:
        write_whole(paths[1], picture)


def _document(told: Answer) -> dict[str, Any]:
    return {
        "question": told.study.key,
        "text": told.study.question,
        "claims": [
            {
                "claim": each.claim.text,
                "holds": each.holds,
                "corners": each.corners,
                "fails": list(each.fails),
            }
            for each in told.survivals
        ],
        "tables": [
            {"title": each.title, "headings": list(each.headings), "rows": [list(row) for row in each.rows]}
            for each in told.tables
        ],
    }


def _show(told: Answer) -> None:
    from .bench_show import table

    out = console()
    out.print(f"{told.study.key}: {told.study.question}", highlight=False)
    out.print()
    for each in told.survivals:
        out.print(f"* {each.claim.text} {str(each).replace('**', '')}", highlight=False)
    out.print()
    for shown in told.tables:
        out.print(table(shown.title, shown.headings, shown.rows))
    if told.study.absent:
        out.print(f"Not in it: {told.study.absent}", highlight=False)
    out.print(LIMITS, style="dim", highlight=False)
