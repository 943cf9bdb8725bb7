"""`gmemsim diff`: two patches over many runs of one workload, or two logs (ours, or kernel traces)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import INTERRUPTED, UNDECIDED, VIOLATION, Command, InputError, Interrupted
from .output import print_json, progress
from .output_files import check_writable
from .params import COUNT, FILE, SECONDS, json_option, own_events, read_events
from .progress import counted, one_interrupt

if TYPE_CHECKING:
    from ..audit.header import Header
    from ..compare.collect import Collected
    from ..compare.diff import Diff
    from ..compare.runs import Run, Steps

#: Header keys that may differ between logs that are compared; the rest must be the same unless --force is given.
_FREE = ("patch", "seed", "release", "version")


@click.command("diff", cls=Command)
@click.argument("left")
@click.argument("right")
@click.option("--scenario", help="Workload for two patches: a name of the library or a .toml file.")
@click.option("--arch", help="VM type; default: the first that the scenario is for.")
@click.option("--release", help="Kernel release around both patches, or `own` for each version's own; "
              "default: the later of the two.")  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The first seed of chunks, times and draws."
)
@click.option("--seeds", type=COUNT, default=20, show_default=True, help="Runs of each side.")
@click.option("--classes", type=COUNT, metavar="N",
              help="Instead of seeds: all classes of schedules, [small] size, at most N schedules.")  # fmt: skip
@click.option("--max-seconds", type=SECONDS, help="Wall-clock for the classes of each side.")
@click.option("--vcpus", type=click.IntRange(min=0), help="Number of vCPUs.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another value of a parameter.")
@click.option("--small", is_flag=True, help="Start from the scenario's [small] values.")
@click.option("--symmetric", is_flag=True, help="Of two logs: identical threads may be exchanged.")
@click.option("--force", is_flag=True, help="Compare logs of different scenarios, VM types or parameters.")
@click.option("--salvage", is_flag=True, help="Take a log that breaks off up to its last whole line.")
@click.option("--most", type=COUNT, default=20, show_default=True, help="Changes to show.")
@click.option("--html", type=FILE, help="Write the comparison as one page, too.")
@own_events
@json_option
@click.pass_context
def command(ctx: click.Context, /, left: str, right: str, most: int, as_json: bool, **options: Any) -> None:
    """Compare LEFT and RIGHT: two patches on one --scenario, or two files.

    A file is a log of ours (.jsonl, .jsonl.zst) or kernel ftrace text (plain or .gz). Two logs are the same if one
    becomes the other by swapping neighbouring steps that do not depend on each other and by renaming host frames and
    messages. Two patches are compared over many runs: what every run of one shows and none of the other comes first,
    and what differs as much between two halves of one side is noise. Exit code 1 if there is a difference, 2 if there
    is none as far as a log goes that breaks off. Ctrl-C ends the runs, and those that came to their end are compared
    (exit code 130).
    """

    ctx.with_resource(one_interrupt())
    check_writable(options["html"], inputs=(left, right, options["scenario"] or ""))
    read_events(options.pop("events"))
    if options["scenario"] is None:
        document, found = _files(left, right, options)
    else:
        document, found = _versions(left, right, options)
    if options["html"] is not None:
        from ..compare.page import page
        from .diff_report import context, verdict
        from .output import LIMITS
        from .output_files import write_whole

        text = page(document, found, context(document), verdict(document, found), LIMITS)
        write_whole(options["html"], text.encode())
    if as_json:
        print_json(document)
    else:
        from .diff_report import show

        show(document, found, most)
    if document["interrupted"]:
        ctx.exit(INTERRUPTED)
    if not found.equal:
        ctx.exit(VIOLATION)
    if document.get("broken_off"):
        ctx.exit(UNDECIDED)


# -- two files -------------------------------------------------------------------------------------


def _files(left: str, right: str, options: dict[str, Any]) -> tuple[dict[str, Any], Diff]:
    from ..audit.reader import read_log
    from ..compare.diff import collector_paused, diff_begun, diff_runs, document
    from ..compare.logs import same_lines
    from ..compare.runs import Steps

    notes: list[str] = []
    steps = Steps()
    with collector_paused():
        paths = Path(left), Path(right)
        sides: list[tuple[Run, Header | None, bool]] = []
        for path in paths:
            if sides and all(map(_is_log, paths)) and path.is_file() and same_lines(*paths):
                # Only the header is another one.
                sides.append((sides[0][0], read_log(path).header, sides[0][2]))
                continue
            with progress(f"{path} …"):
                sides.append(_read(steps, path, options["salvage"], notes))
        header = _headers(left, right, (sides[0][1], sides[1][1]), options["force"])
        runs = _as_far_as_both_go(steps, paths, sides, notes)
        with progress("comparing …"):
            interrupted = False
            try:
                found = diff_runs(steps, *runs, symmetric=options["symmetric"])
            except KeyboardInterrupt:
                interrupted = True
                found = diff_begun(steps, *runs)
                notes.append("interrupted: only the first divergence is told")
    if found.equal and found.first_divergence is not None and not steps.say_accesses:
        notes.append(
            "these logs do not say what each step touches, as those of `gmemsim replay --log` do: which steps are "
            "independent is judged by their events"
        )
    result: dict[str, Any] = {"left": left, "right": right, "header": header, "notes": notes} | document(
        found
    )
    result["broken_off"] = sides[0][2] or sides[1][2]
    result["interrupted"] = interrupted
    return result | {key: {"left": None, "right": None} for key in ("locks", "virtual_ns", "outcomes")}, found


def _as_far_as_both_go(
    steps: Steps, paths: tuple[Path, Path], sides: list[tuple[Run, Header | None, bool]], notes: list[str]
) -> tuple[Run, Run]:
    """What is compared, which is said where a side breaks off.

    Raises:
        InputError: that is nothing.
    """
    one, two = (run for run, _, _ in sides)
    broken_off = (sides[0][2], sides[1][2])
    if not any(broken_off):
        return one, two
    for path, (run, _, broken) in zip(paths, sides, strict=True):
        if broken:
            notes.append(f"{path}: breaks off after {len(run.steps):,} events")
    whole = [len(run.steps) for run in steps.like_each_other(one, two)]
    if one is not two:
        one, two = steps.as_far_as_both_go(*steps.like_each_other(one, two), broken_off)
    if not one.steps and not two.steps:
        raise InputError(f"{paths[0]} and {paths[1]}: no task has a step in both before one breaks off")
    notes.append(
        f"compared up to there, of each task as many steps as both have: {len(one.steps):,} of {whole[0]:,} events on "
        f"the left, {len(two.steps):,} of {whole[1]:,} on the right"
    )
    return one, two


def _read(steps: Steps, path: Path, salvage: bool, notes: list[str]) -> tuple[Run, Header | None, bool]:
    """A side, its header, and whether it breaks off."""
    from ..compare.logs import read_run
    from ..follow.as_events import events_of
    from ..follow.trace import load_trace, order_note

    if not path.is_file():
        problem = "not a file" if path.exists() else "no such file"
        raise InputError(f"{path}: {problem}; for two patches give --scenario")
    if _is_log(path):
        log = read_run(steps, path, partial=salvage)
        return log.run, log.header, log.broken_off
    trace = load_trace(path)
    run = steps.run(events_of(trace))
    if len(run.steps) < trace.events:
        notes.append(
            f"{path}: {len(run.steps):,} of {trace.events:,} events are compared; the others say nothing of its file"
        )
    notes.extend(f"{path}: {note}" for note in order_note(trace))
    return run, None, False


def _is_log(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.zst"))


def _headers(
    left: str, right: str, headers: tuple[Header | None, Header | None], force: bool
) -> dict[str, dict[str, Any]]:
    """What differs between the headers of two logs.

    Raises:
        InputError: they are of different scenarios, VM types or parameters, and nobody said that this is wanted.
    """
    if headers[0] is None or headers[1] is None:
        return {}
    one, two = headers[0].context(), headers[1].context()
    found = {
        key: {"left": one.get(key), "right": two.get(key)}
        for key in dict.fromkeys((*one, *two))
        if one.get(key) != two.get(key)
    }
    differs = [key for key in found if key not in _FREE]
    if differs and not force:
        what = ", ".join(f"{key} ({found[key]['left']} and {found[key]['right']})" for key in differs)
        raise InputError(
            f"{left} and {right} differ in {what}: no comparison of versions; --force compares anyway"
        )
    return found


# -- two patches -----------------------------------------------------------------------------------


def _versions(left: str, right: str, options: dict[str, Any]) -> tuple[dict[str, Any], Diff]:
    from ..compare.collect import collect_classes, common_release
    from ..compare.diff import diff_sets, document
    from ..patches.registry import load_patch
    from .running import patches_told, user_error

    versions = load_patch(left), load_patch(right)
    release = common_release(options["release"], versions)
    programs = [_program(name, release, options) for name in (left, right)]
    with patches_told((left, right), "these runs"):
        if options["classes"] is not None:
            sides = []
            for name, program in zip((left, right), programs, strict=True):
                with counted(f"diff, {name}", options["classes"]) as show, user_error(name):
                    show(0)
                    sides.append(collect_classes(program, options["classes"], options["max_seconds"], show))
                if sides[-1].stopped == "interrupted":
                    break
        else:
            seeds = range(options["seed"], options["seed"] + options["seeds"])
            sides = _seeds(programs, (left, right), seeds)
    if len(sides) < 2 or not all(side.runs for side in sides):
        raise Interrupted
    names = max((side.names for side in sides), key=len)
    found = diff_sets(sides[0].runs, sides[1].runs, names, (sides[0].first, sides[1].first), versions)
    result: dict[str, Any] = {
        "left": left,
        "right": right,
        "scenario": programs[0].scenario.name,
        "arch": programs[0].arch,
        "release": release or {"left": versions[0].default_release, "right": versions[1].default_release},
        "header": {},
        "notes": [],
    }
    result["interrupted"] = sides[1].stopped == "interrupted"
    if options["classes"] is None:
        if result["interrupted"]:
            done = " and ".join(str(len(side.runs)) for side in sides)
            result["notes"].append(f"interrupted: compared {done} of {options['seeds']} seeds")
        result["seeds"] = [options["seed"], options["seed"] + options["seeds"] - 1]
    else:
        result["classes"] = {
            name: {"runs": len(side.runs), "complete": side.complete, "stopped": side.stopped}
            for name, side in zip(("left", "right"), sides, strict=True)
        }
    result |= document(found)
    for key in ("locks", "virtual_ns"):
        result[key] = {"left": sides[0].summary.get(key), "right": sides[1].summary.get(key)}
    result["outcomes"] = {"left": dict(sides[0].outcomes), "right": dict(sides[1].outcomes)}
    return result, found


def _seeds(programs: list[Any], names: tuple[str, str], seeds: range) -> list[Collected]:
    """Both sides in turn, so that after Ctrl-C there is as much of the one as of the other."""
    from ..compare.collect import Collected
    from ..scenarios.session import finish
    from .running import user_error

    sides = [Collected(), Collected()]
    try:
        with counted("diff", 2 * len(seeds)) as show:
            for seed in seeds:
                for name, program, side in zip(names, programs, sides, strict=True):
                    show(len(sides[0].runs) + len(sides[1].runs), f"{name}, seed {seed}")
                    with user_error(name):
                        side.add_seed(program, seed, lambda session: finish(session, "bare"))
    except KeyboardInterrupt:
        sides[1].stopped = "interrupted"
    return sides


def _program(patch: str, release: str | None, options: dict[str, Any]) -> Any:
    from .program import input_errors, make_program

    with input_errors():
        return make_program(
            options["scenario"],
            patch,
            arch=options["arch"],
            release=release,
            seed=options["seed"],
            vcpus=options["vcpus"],
            settings=options["settings"],
            full=not (options["small"] or options["classes"] is not None),
            policy=None,
            rounds=None,
        )
