"""`gmemsim diff`: two patches on one workload, or two logs (ours, or kernel traces)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import VIOLATION, InputError
from .output import LIMITS, console, print_json, progress

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..audit.diff import Diff

__all__ = ["command"]

Side = tuple[str, list[tuple[str, "Event"]], dict[str, Any]]


@click.command("diff")
@click.argument("left")
@click.argument("right")
@click.option("--scenario", help="Workload for two patches: a name of the library or a .toml file.")
@click.option("--arch", help="VM type; default: the first that the scenario is for.")
@click.option("--release", help="Kernel release around both patches; default: each version's own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of chunks, times and draws.")
@click.option("--vcpus", type=click.IntRange(min=0), help="Number of vCPUs.")
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True, help="Changes to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    left: str,
    right: str,
    scenario: str | None,
    arch: str | None,
    release: str | None,
    seed: int,
    vcpus: int | None,
    most: int,
    as_json: bool,
) -> None:
    """Compare LEFT and RIGHT: two patches on one --scenario, or two files.

    A file is a log of ours (.jsonl, .jsonl.zst) or kernel ftrace text (plain or .gz). The order of independent steps
    does not count. Exit code 1 if there is a difference.
    """
    from ..audit.diff import diff
    from ..audit.errors import LogError
    from ..follow.ftrace import TraceError
    from ..patches.registry import PatchError
    from ..scenarios.errors import ScenarioError

    try:
        sides = []
        for name in (left, right):
            with progress(f"{name} …"):
                sides.append(
                    _read(Path(name))
                    if scenario is None
                    else _run(name, scenario, arch, release, seed, vcpus)
                )
        with progress("comparing …"):
            found = diff(sides[0][1], sides[1][1])
    except (LogError, TraceError, PatchError, ScenarioError) as error:
        raise InputError(str(error)) from None
    if as_json:
        print_json(_document(sides, found))
    else:
        _show(sides, found, most)
    if found.changes or found.first_divergence is not None:
        ctx.exit(VIOLATION)


def _read(path: Path) -> Side:
    from ..follow.as_events import events_of
    from ..follow.trace import load_trace

    if not path.is_file():
        problem = "not a file" if path.exists() else "no such file"
        raise InputError(f"{path}: {problem}; for two patches give --scenario")
    if path.suffixes[-1:] == [".jsonl"] or path.suffixes[-2:] == [".jsonl", ".zst"]:
        from ..audit.reader import read_log

        return str(path), [(record.actor, record.event) for record in read_log(path)], {}
    return str(path), list(events_of(load_trace(path))), {}


def _run(
    patch: str, scenario: str, arch: str | None, release: str | None, seed: int, vcpus: int | None
) -> Side:
    from ..scenarios.catalogue import find
    from ..scenarios.options import Options
    from ..scenarios.session import build
    from .running import finish, user_error

    log: list[tuple[str, Event]] = []

    def record(task: Any, event: Event) -> None:
        if task.name != "setup":
            log.append((task.name, event))

    with user_error(patch):
        session = build(
            find(scenario),
            patch,
            arch,
            vcpus=vcpus,
            seed=seed,
            release=release,
            options=Options(rec=record, keep_results=False, max_virtual_ns=10**10),
        )
        finish(session, "bare")
    return patch, log, session.summary().as_dict()


def _document(sides: list[Side], found: Diff) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(found)
    document["events"] = {name: {"left": a, "right": b} for name, (a, b) in found.events.items()}
    document["left"], document["right"] = sides[0][0], sides[1][0]
    for key in ("locks", "virtual_ns"):
        document[key] = {"left": sides[0][2].get(key), "right": sides[1][2].get(key)}
    return document


def _show(sides: list[Side], found: Diff, most: int) -> None:
    from rich.table import Table

    out = console()
    if found.first_divergence is None:
        out.print("The same, step by step.")
        return
    table = Table(title="events", title_justify="left")
    for name in ("event", sides[0][0], sides[1][0], "change"):
        table.add_column(name, justify="left" if name == "event" else "right", overflow="fold")
    for name, (a, b) in found.events.items():
        if a != b:
            table.add_row(name, str(a), str(b), f"{b - a:+d}")
    if table.row_count:
        out.print(table)
    if found.changes:
        changes = Table(
            title="changes that no reordering of independent steps explains", title_justify="left"
        )
        for name in ("kind", "event", "where", sides[0][0], sides[1][0], "times"):
            changes.add_column(name, overflow="fold")
        for change in found.changes[:most]:
            changes.add_row(
                change.kind,
                change.event,
                change.where,
                str(change.left),
                str(change.right),
                str(change.count),
            )
        out.print(changes)
        if len(found.changes) > most:
            out.print(f"… and {len(found.changes) - most} more kinds of change (--most).")
    else:
        out.print("Only the order of independent steps differs.")
    at = found.first_divergence
    out.print(f"First divergence at step {at.index}:", markup=False)
    for side, step in ((sides[0][0], at.left), (sides[1][0], at.right)):
        out.print(f"  {side}: {_step(step)}", markup=False, soft_wrap=True)
    if sides[0][2]:
        _locks(sides)
        out.print(LIMITS, style="dim")


def _step(step: dict[str, Any] | None) -> str:
    return "ends" if step is None else " ".join(f"{key}={value}" for key, value in step.items())


def _locks(sides: list[Side]) -> None:
    from rich.table import Table

    table = Table(title="locks, virtual time", title_justify="left")
    for name in ("lock", "mode", "taken", "waited", "wait ns", "held ns"):
        table.add_column(name, justify="left" if name in ("lock", "mode") else "right")
    found = [side[2]["locks"] for side in sides]
    for name in sorted(set(found[0]) | set(found[1])):
        for mode in ("read", "write"):
            stats = [side.get(name, {}).get(mode) for side in found]
            if not any(each and each["acquisitions"] for each in stats):
                continue
            cells = [
                " / ".join("-" if each is None else str(each[key]) for each in stats)
                for key in ("acquisitions", "contentions", "wait_total", "hold_total")
            ]
            table.add_row(name, mode, *cells)
    console().print(table)
