"""Traces of rounds as files that `gmemsim follow` reads: NAME.trace.gz, and NAME.json with what was probed."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from .runs import KernelRuns

__all__ = ["write_recordings"]

_TYPES = {"default": "KVM_X86_DEFAULT_VM", "sw-protected": "KVM_X86_SW_PROTECTED_VM"}


def write_recordings(folder: Path, runs: KernelRuns, vm_type: str) -> list[Path]:
    """A pair of files for each traced round."""
    about = runs.about
    written = []
    for run in runs.runs:
        for number, (text, lost) in enumerate(run.traces):
            name = f"{run.program.name}-{number}"
            meta = {
                "scenario": run.program.name,
                "uname": f"Linux (none) {about.get('release', '')} {about.get('version', '')}",
                "vm_type": _TYPES[vm_type],
                "lost_events": lost,
                "probes": [line for line in runs.probes if line.endswith(" ok")],
                "probes_unavailable": [line for line in runs.probes if not line.endswith(" ok")],
            }
            path = folder / f"{name}.trace.gz"
            with gzip.GzipFile(path, "wb", 9, mtime=0) as file:
                file.write(text)
            (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=1))
            written.append(path)
    return written
