"""`gmemsim conform`: run conformance vectors."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..audit.bounded import clean
from ..nearest import hint
from .errors import VIOLATION, Command, InputError, Interrupted
from .output import console, print_json, say, table
from .output_files import check_writable
from .params import COUNT, json_option
from .progress import counted
from .verdicts import Verdict, verdict_options, write_verdicts

if TYPE_CHECKING:
    from ..scenarios.conform.suite import CaseResult


@click.command("conform", cls=Command)
@click.argument("vectors", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--patch", "patches", multiple=True, help="Patch version; can be repeated.  [default: v3]")
@click.option("--arch", "vm_types", multiple=True, help="VM type; can be repeated.  [default: all]")
@click.option("--release", help="Kernel release around the patch; default: each version's own.")
@click.option("--id", "ids", multiple=True, help="Only the vector of this id; can be repeated.")
@click.option(
    "--schedules",
    type=COUNT,
    default=5,
    show_default=True,
    help="Of a vector with parallel steps: first every state, up to 200 times as many; if there are more, so "
    "many schedules at random.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@verdict_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    vectors: Path | None,
    patches: tuple[str, ...],
    vm_types: tuple[str, ...],
    release: str | None,
    ids: tuple[str, ...],
    schedules: int,
    seed: int,
    ktap: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Run VECTORS (default: those of the kernel's selftests) step by step through the model.

    Exit code 1 if one fails that the documentation does not explain, 2 if none could be judged. What the runner does
    not know is reported as unsupported, never as passed. Ctrl-C shows what was judged until then.
    """
    from ..actors.release import RELEASES
    from ..explore.strategies.complete_first import CompleteFirst
    from ..patches.entered import Entered, never_ran, note_state, watch_overrides
    from ..patches.registry import load_patch
    from ..scenarios.conform import load_vectors
    from ..scenarios.conform.suite import EMBEDDED, STATES, cases, judge
    from .running import user_error

    _known(vm_types, release, writes=(ktap, junit), reads=(*patches, str(vectors or "")))
    versions = [load_patch(name) for name in patches or ("v3",)]
    found = load_vectors(*([vectors] if vectors else EMBEDDED))
    if unknown := set(ids) - {vector.id for vector in found}:
        where = f"no such vector in {vectors or 'the embedded set'}"
        raise InputError(f"--id {min(unknown)}: {where}; {hint(min(unknown), [v.id for v in found])}")
    chosen = [vector for vector in found if not ids or vector.id in ids]
    wanted = list(cases(chosen, versions, vm_types or None, None if release is None else RELEASES[release]))
    if not wanted:
        raise InputError("no vector applies to these versions, VM types and release")
    search = partial(CompleteFirst, seed, STATES * schedules)
    results: list[CaseResult] = []
    ended: click.ClickException | None = None
    entered = Entered(())
    try:
        with (
            counted("conform", len(wanted)) as show,
            user_error(*patches),
            watch_overrides(*versions) as entered,
        ):
            for case in wanted:
                show(len(results), f"{case.vector.id}, {case.vm_type}")
                results.append(judge(case, schedules=schedules, seed=seed, search=search))
                note_state()
                entered.refuse_state()
    except KeyboardInterrupt:
        ended = Interrupted()
    except InputError as error:
        ended = error
    write_verdicts("conform", map(_verdict, results), len(wanted) - len(results), ktap=ktap, junit=junit)
    if as_json:
        print_json(
            _document(results, len(wanted))
            | {"never_ran": list(entered.never), "errnos": sorted(entered.errnos)}
        )
    elif results:
        _show(results)
        if entered.never:
            say(never_ran(entered.never, f"{len(results):,} cases"))
        for line in sorted(entered.errnos):
            say(line)
        if len(results) < len(wanted):
            say(f"{len(results)} of {len(wanted)} cases were judged")
    if ended is not None:
        raise ended
    if any(result.verdict.result == "failed" and not result.why for result in results):
        ctx.exit(VIOLATION)
    if all(result.verdict.result == "unsupported" for result in results):
        raise InputError("every case is unsupported: nothing was judged")


def _verdict(result: CaseResult) -> Verdict:
    """What is explained has failed and is known to; it is skipped, as what could not be judged is."""
    case, verdict = result.case, result.verdict
    name = f"{case.vector.id}, {case.patch.name}, {case.vm_type}"
    if verdict.result == "passed":
        return Verdict(name, "passed")
    if result.why:
        return Verdict(name, "skipped", f"explained: step {verdict.step}: {result.why}")
    if verdict.result == "failed":
        return Verdict(name, "failed", f"step {verdict.step}: expected {verdict.expected}, got {verdict.got}")
    return Verdict(name, "skipped", f"unsupported: {verdict.got}")


def _known(
    vm_types: tuple[str, ...], release: str | None, writes: tuple[Path | None, ...], reads: tuple[str, ...]
) -> None:
    """Refuse names of VM types and releases that there are not, and files that cannot be written."""
    from ..actors.release import RELEASES
    from ..arch.registry import ARCHES

    check_writable(*writes, inputs=reads)
    for kind in vm_types:
        if kind not in ARCHES:
            raise InputError(f"--arch {kind}: {hint(kind, ARCHES)}")
    if release is not None and release not in RELEASES:
        raise InputError(f"--release {release}: expected one of {', '.join(RELEASES)}")


def _document(results: list[CaseResult], wanted: int) -> dict[str, Any]:
    counts = Counter(result.verdict.result for result in results)
    return {
        "passed": counts["passed"],
        "failed": counts["failed"],
        "unsupported": counts["unsupported"],
        "not_judged": wanted - len(results),
        "results": [
            {
                "id": result.case.vector.id,
                "evidence": result.case.vector.evidence,
                "patch": result.case.patch.name,
                "arch": result.case.vm_type,
                "release": result.case.release.name,
                "result": result.verdict.result,
                "step": result.verdict.step or None,
                "expected": result.verdict.expected,
                "got": result.verdict.got,
                "schedules": result.schedules,
                "states": result.states or None,
                "complete": result.complete,
                "explained": result.why or None,
            }
            for result in results
        ],
    }


def _show(results: list[CaseResult]) -> None:
    from ..scenarios.conform import EVIDENCE

    out = console()
    verdicts = ("passed", "explained", "failed", "unsupported")
    shown = table("vectors by what they rest on", ("patch", "evidence", *verdicts), numbers=verdicts)
    for patch in dict.fromkeys(result.case.patch.name for result in results):
        for evidence in EVIDENCE:
            rows = [
                result
                for result in results
                if result.case.patch.name == patch and result.case.vector.evidence == evidence
            ]
            if rows:
                counts = Counter("explained" if row.why else row.verdict.result for row in rows)
                cells = (counts[name] for name in verdicts)
                shown.add_row(patch, evidence, *(str(cell) if cell else "" for cell in cells))
    out.print(shown)
    parallel = [result for result in results if result.states]
    if parallel:
        complete = sum(result.complete for result in parallel)
        states = sum(result.states for result in parallel)
        sampled = len(parallel) - complete
        out.print(
            f"{len(parallel)} cases with parallel steps, {states:,} states: {complete} complete"
            + (f", {sampled} sampled after that or stopped at a failure" if sampled else ""),
            highlight=False,
        )
    for result in results:
        verdict = result.verdict
        if verdict.result == "passed":
            continue
        case = result.case
        where = f"{clean(case.vector.id, 200)} (line {case.vector.line}), {case.patch.name}, {case.vm_type}"
        if result.why:
            text = f"explained: {where}, step {verdict.step}: {result.why}"
        elif verdict.result == "failed":
            step = f", step {verdict.step}" if verdict.step else ""
            text = f"FAILED: {where}{step}: expected {verdict.expected}, got {verdict.got}"
        else:
            text = f"unsupported: {where}: {verdict.got}"
        out.print(text, markup=False, highlight=False, soft_wrap=True)
