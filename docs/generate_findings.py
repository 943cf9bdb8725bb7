"""Write docs/findings/README.md, the index, from the table of findings.

python docs/generate_findings.py
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gmemsim.explore.findings.finding import Finding
from gmemsim.explore.findings.table import FINDINGS

OUT = Path(__file__).parent / "findings" / "README.md"

HEAD = """# Findings

What versions of guest_memfd get wrong: {count} findings, {confirmed} of them confirmed on stock kernels. {new} were
reported by nobody that we know of; we searched the material at hand, which is not all there is.

`gmemsim findings` lists them, `gmemsim findings ID` shows one whole: versions of the model, the failure that is called
by its name (rule, operations, kernel functions, locks and modes), scenarios. A failure that a search meets is called
known only if it fits on a version that has it.

*Confirmed*: seen on that kernel. *By reading*: that kernel's source has the steps, nobody tried. *Refuted*: tried or
read, and that kernel does not do it. *Fixed in*: the first release without it. What was run is in `reproducers/`; the
model's own evidence is a schedule, and says only that the model allows it.

| finding | state | reported before |
|---|---|---|
"""

TAIL = """
## Claims that were wrong

Earlier versions of these pages, or of the tests, claimed what kernels or their sources refuted:

* an eviction of a page that a guest maps, on released kernels:
  [host fault on a poisoned page](host-fault-on-poisoned-page.md);
* unbinding without the lock in Linux 7.3, which mended it:
  [unbind during a memory failure](unbind-during-memory-failure.md);
* two snapshots of the invalidation sequence in 6.12, between which a conversion goes unnoticed: 6.12.107 takes one;
* a reference of every page that TDX mapped, on 7.2 and 7.3: [TDX removal failure](tdx-removal-failure.md);
* that a pre-fault and the deletion of a slot do not stop each other on default VMs since 6.18:
  [a pre-fault keeps an obsolete root](prefault-keeps-obsolete-root.md).
"""


def row(one: Finding) -> str:
    """One line of the index."""
    return (
        f"| [{one.ident}]({one.ident}.md): {one.title} | {one.state} | {one.reported or 'no report known'} |"
    )


def page() -> str:
    """The index."""
    kinds = Counter(kind for one in FINDINGS.values() for kind in {state.kind for state in one.states})
    head = HEAD.format(
        count=len(FINDINGS),
        confirmed=kinds["confirmed"],
        new=sum(not one.reported for one in FINDINGS.values()),
    )
    return head + "\n".join(map(row, FINDINGS.values())) + "\n" + TAIL


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
