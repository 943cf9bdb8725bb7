"""`gmemsim bench study`: a design question, answered by storms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..nearest import hint
from .campaign import Ways, campaign_options, finish_cells
from .errors import Command, InputError
from .output import LIMITS, console, print_json
from .output_files import check_writable, write_whole
from .params import json_option

if TYPE_CHECKING:
    from ..contention.questions.runner import Answer


@click.command("study", cls=Command)
@click.argument("question", required=False)
@click.option("--no-sweep", is_flag=True, help="Default costs only: seconds, and nothing on what survives.")
@click.option(
    "--page",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Write the page and its picture to this directory.",
)
@campaign_options
@json_option
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
    from ..contention.questions.runner import answer, cell_of, cells, open_state, run_cell
    from ..jobs.share import share

    found, ended = finish_cells(
        f"study {question}",
        cells(STUDIES[question], sweep),
        ways,
        open_state=open_state,
        work=lambda missing, where: share(run_cell, missing, where),
        cell_of=cell_of,
    )
    if ended is not None:
        raise ended
    return answer(STUDIES[question], {cell: document["values"] for cell, document in found.items()})


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
