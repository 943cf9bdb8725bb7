"""What reproducers/mend/compare.sh and workloads.sh printed (docs/mended_kernel.txt), for docs/generate_mends.py."""

from __future__ import annotations

import re
from pathlib import Path

KERNEL = Path(__file__).parent / "mended_kernel.txt"
_LOCK = "by one run of `reproducers/mend/compare.sh`; the module has `error-bindings-lock`"
#: How the reproducer was run, and with what in the module, where it is not as with `error-bindings-lock`.
HOW = {
    "prefault-keeps-obsolete-root": "by a run of `reproducers/mend/compare.sh` each; the module has what "
    "`reproducers/mend/edit_prefault_reload.py` writes",
}


def on_a_kernel(finding: str) -> list[str]:
    """What the finding's reproducer came to on the stock kernel and with the mended module, if it was run there."""
    results = re.findall(
        r"^(\d\S+) (stock|mended) (\S+?)(?: (punch|bind))?: (.*)$",
        KERNEL.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    mine = [
        # A reproducer without memory failures counts none.
        (release, image, writer, said.removesuffix(", 0 pages with an error"))
        for release, image, program, writer, said in results
        if program == finding
    ]
    if not mine:
        return []
    writers = {"punch": "PUNCH_HOLE of another page", "bind": "a memslot ioctl", "": ""}
    named = any(writer for _, _, writer, _ in mine)
    lines = [
        f"**On a kernel**, {HOW.get(finding, _LOCK)}:",
        "",
        "| kernel | module | writer | the reproducer |" if named else "| kernel | module | the reproducer |",
        "|---|---|---|---|" if named else "|---|---|---|",
    ]
    for release, image, writer, said in mine:
        cells = [release, image, *([writers[writer]] if named else []), said]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def workloads() -> list[str]:
    """Recorded workloads and vectors on the mended kernel."""
    text = KERNEL.read_text(encoding="utf-8")
    found = re.findall(r"^(\S+): (\S+) (\d+) of (\d+), (\S+) (\d+) of \d+$", text, re.MULTILINE)
    lines = [
        "## On a mended kernel",
        "",
        "Debian's 7.3.4 with `error-bindings-lock` in `kvm.ko`, by `reproducers/mend/all.sh`.",
        "Traces of recorded workloads, and how many are runs of the model's versions:",
        "",
        "| workload | traces | the mended version | the stock one |",
        "|---|--:|--:|--:|",
    ]
    lines += [f"| {one[0]} | {one[3]} | {one[2]} | {one[5]} |" for one in found]
    vectors = re.findall(r"^vectors (stock|mended): \S+ as (\S+): (.*)$", text, re.MULTILINE)
    if vectors:
        lines += ["", "The selftests' vectors for a default VM, run by `gmemsim lab vectors`:", ""]
        lines += [
            f"* on the {image} kernel, expected as of `{version}`: {said}" for image, version, said in vectors
        ]
    return [*lines, "", *_notes(), ""]


def _notes() -> list[str]:
    return [
        line.removeprefix("# ")
        for line in KERNEL.read_text(encoding="utf-8").splitlines()
        if line[:2] == "# "
    ]
