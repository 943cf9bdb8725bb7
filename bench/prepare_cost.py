"""What prepare at every fault costs (hazard 4): calls of the hook, lock holding around it, and what a punch waits for.

    python bench/prepare_cost.py [--vcpus 1,4,16] [--arch snp]

Virtual time under the default cost table; scenario `punch` at full size: vCPUs loop over 32 pages while a thread
punches chunks of eight. Exclusive takers are the punches, in `tracked` also the faults that prepare. `tracked` and
`tracked-shared` keep preparedness in guest_memfd, under the invalidate lock.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gmemsim.audit.kvm_events import MakePrivateRet, PrepareRet
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.session import build

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

PATCHES = ("baseline", "v1", "v3", "tracked", "tracked-shared", "inplace-v8", "inplace")


class Hooks:
    """Counts answers of the hook."""

    def __init__(self) -> None:
        self.calls = 0
        self.did = 0

    def rec(self, t: Task, event: Any) -> None:
        """For the engine."""
        if isinstance(event, (PrepareRet, MakePrivateRet)):
            self.calls += 1
            self.did += event.did


def measure(patch: str, arch: str, vcpus: int) -> str:
    """One row."""
    hooks = Hooks()
    session = build(load_named("punch"), patch, arch, vcpus=vcpus, options=Options(rec=hooks.rec)).run()
    locks = {row.name: row for row in session.locks()}
    lock, folio = locks["invalidate_lock"], locks["folio_lock"]
    shared = lock.read.hold_total / lock.read.acquisitions if lock.read.acquisitions else 0
    waits = lock.write.wait_total / lock.write.acquisitions
    return (
        f"| {patch} | {vcpus} | {hooks.calls:,} | {hooks.did:,} | {lock.read.acquisitions:,} | {shared:,.0f} | "
        f"{folio.write.hold_total / max(folio.write.acquisitions, 1):,.0f} | {waits:,.0f} | {lock.write.wait_max:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vcpus", default="1,4,16")
    parser.add_argument("--arch", default="snp")
    given = parser.parse_args()
    print(
        "| version | vCPUs | hook called | did something | invalidate lock shared | held, ns each | folio lock held, "
        "ns each | waits for it exclusively, ns each | longest, ns |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for patch in PATCHES:
        for vcpus in given.vcpus.split(","):
            print(measure(patch, given.arch, int(vcpus)), flush=True)


if __name__ == "__main__":
    main()
