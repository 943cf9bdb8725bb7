"""What reproducers/mend/compare.sh and workloads.sh printed (docs/mended_kernel.txt), for docs/generate_mends.py."""

from __future__ import annotations

import re
from pathlib import Path

KERNEL = Path(__file__).parent / "mended_kernel.txt"


def on_a_kernel(finding: str) -> list[str]:
    """What the finding's reproducer came to on the stock kernel and with the mended module, if it was run there."""
    results = re.findall(
        r"^(\d\S+) (stock|mended) (\S+): (.*)$", KERNEL.read_text(encoding="utf-8"), re.MULTILINE
    )
    mine = [(release, image, said) for release, image, program, said in results if program == finding]
    if not mine:
        return []
    lines = [
        "**On a kernel**, in one run of `reproducers/mend/compare.sh`; the module has `error-bindings-lock`:",
        "",
        "| kernel | module | the reproducer with 10,000 rounds |",
        "|---|---|---|",
    ]
    return [*lines, *(f"| {release} | {image} | {said} |" for release, image, said in mine), ""]


def workloads() -> list[str]:
    """Recorded workloads on the mended kernel: how many traces each version can take."""
    found = re.findall(
        r"^(\S+): (\S+) (\d+) of (\d+), (\S+) (\d+) of \d+$", KERNEL.read_text(encoding="utf-8"), re.MULTILINE
    )
    lines = [
        "## On a mended kernel",
        "",
        "Debian's 7.3.4 with `error-bindings-lock` in `kvm.ko`. Traces by `reproducers/mend/workloads.sh`, and how",
        "many are runs of the model's versions:",
        "",
        "| workload | traces | the mended version | the stock one |",
        "|---|--:|--:|--:|",
    ]
    return [*lines, *(f"| {one[0]} | {one[3]} | {one[2]} | {one[5]} |" for one in found), "", *_notes(), ""]


def _notes() -> list[str]:
    return [
        line.removeprefix("# ")
        for line in KERNEL.read_text(encoding="utf-8").splitlines()
        if line[:2] == "# "
    ]
