"""Traces of rounds as files that `gmemsim follow` reads: NAME.trace.gz, and NAME.json with what was probed."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import msgspec

from ..whole_files import write_whole
from .errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from .runs import KernelRuns

_TYPES = {"default": "KVM_X86_DEFAULT_VM", "sw-protected": "KVM_X86_SW_PROTECTED_VM"}


def write_recordings(folder: Path, runs: KernelRuns, vm_type: str) -> list[Path]:
    """A pair of files for each traced round; the names of the traces.

    Raises:
        LabError: they cannot be written; then none of them is there.
    """
    about = runs.about
    written: dict[Path, bytes] = {}
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
            written[folder / f"{name}.json"] = msgspec.json.format(msgspec.json.encode(meta), indent=1)
            written[folder / f"{name}.trace.gz"] = gzip.compress(text, 9, mtime=0)
    write_whole(written)
    return [path for path in written if path.suffix == ".gz"]


def check_folder(folder: Path) -> None:
    """Refuse, before anything is run, a folder that cannot be made or written to.

    Raises:
        LabError: it is something else, or its place is not ours.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise LabError(f"{folder}: {there} is {'not writable' if there.is_dir() else 'no folder'}")
