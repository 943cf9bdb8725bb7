"""`gmemsim lab vectors`: what the kernel's selftests assert, on a kernel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import click

from .errors import INTERRUPTED, UNDECIDED, VIOLATION, Command
from .lab_options import about, kernel_option, machine, machine_options, say
from .output import print_json
from .params import SECONDS, json_option


@click.command("vectors", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@kernel_option
@click.option("--patch", help="Version whose vectors are taken; default: the one that a stock kernel is.")
@click.option("--id", "only", multiple=True, help="Only the vector of this id; can be repeated.")
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, boot and all.")
@machine_options
@json_option
@click.pass_context
def vectors(
    ctx: click.Context,
    file: Path | None,
    kernel: str,
    patch: str | None,
    only: tuple[str, ...],
    max_seconds: float | None,
    accel: str,
    front: str,
    as_json: bool,
) -> None:
    """Run the vectors of FILE (default: those of the kernel's selftests) on a kernel, step by step.

    Taken are those that apply to a default VM of the version that the kernel is. What a stock kernel or the runner
    cannot do is named, never counted as passed. Exit code 1 if one fails, 2 if none could be judged.
    """
    from ..actors.release import RELEASES
    from ..lab.kernels import find_kernel
    from ..lab.vectors import run_vectors
    from ..lab.versions import release_of, version_of
    from ..patches.registry import load_patch
    from ..scenarios.conform.case import applicable
    from ..scenarios.conform.suite import EMBEDDED
    from ..scenarios.conform.vector import load_vectors

    booted = find_kernel(kernel)
    version = load_patch(patch or version_of(booted))
    release = RELEASES[release_of(booted)]
    every = load_vectors(*((file,) if file else EMBEDDED))
    chosen = [
        vector
        for vector in every
        if (not only or vector.id in only) and not applicable(vector, version, "default", release)
    ]
    found, runs = run_vectors(booted, chosen, machine(accel, front, max_seconds), say)
    counts = Counter(one.result for one in found.values())
    if as_json:
        rows = [attrs.asdict(found[vector.id]) for vector in chosen if vector.id in found]
        print_json({**about(runs, ""), "patch": version.name, "counts": counts, "vectors": rows})
    else:
        for one in (found[vector.id] for vector in chosen if vector.id in found):
            if one.result != "passed":
                click.echo(f"{one.result}: {one.id}: {one.text}")
        click.echo(
            f"{booted.release} as {version.name}: {len(found)} vectors, {counts['passed']} passed, "
            f"{counts['failed']} failed, {counts['not run']} not run; "
            f"{sum(one.steps for one in found.values())} steps, "
            f"{len(runs.boots)} boots with {runs.front}, {runs.seconds:.0f} s"
        )
    if runs.interrupted:
        say("interrupted")
        ctx.exit(INTERRUPTED)
    if counts["failed"]:
        ctx.exit(VIOLATION)
    if not counts["passed"]:
        ctx.exit(UNDECIDED)
