"""Q2: the look-up of private or shared, with or without the invalidate lock."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar

from ...audit.kvm_events import ExitMemoryFault, Retry
from ..point import Point
from .lab import Lab, events_of
from .study import Case, Chart, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...arch.costs import CostTable
    from ...engine.task import Task

_VCPUS = (4, 16, 64)
_WAYS = ("lock-free", "locked")
_SHARED = 32
_GFN = 1 << 18


def with_locked_lookup(patch: type[Kernel]) -> type[Kernel]:
    """A variant whose `kvm_mem_is_private` takes the file's invalidate lock shared, as postings before v8 did."""

    class Locked(patch):  # type: ignore[misc, valid-type] # a class that is known at run time
        async def kvm_mem_is_private(self, t: Task, vm: Vm, gfn: int) -> bool:
            slot = vm.slot_of(gfn)
            file = None if slot is None else slot.gmem_file
            if file is None:
                found: bool = await super().kvm_mem_is_private(t, vm, gfn)
                return found
            lock = file.inode.invalidate_lock
            await lock.down_read(t)
            found = await super().kvm_mem_is_private(t, vm, gfn)
            await lock.up_read(t)
            return found

    Locked.name = patch.name
    return Locked


class LookupLock(Study):
    key: ClassVar[str] = "Q2"
    slug: ClassVar[str] = "lookup-lock"
    question: ClassVar[str] = (
        "Is the look-up of private or shared in a fault (`kvm_mem_is_private`) lock-free, as from v8 on, or under the "
        "shared invalidate lock, as before? Stalls against faults that are wasted on a stale answer."
    )
    method: ClassVar[str] = (
        "`inplace`, SNP. Each vCPU touches 64 pages of 4 KiB again that were zapped; every second touch is a random "
        "one of 32 common pages instead, which a VMM thread converts to shared and back, one call a page. A fault is "
        "wasted if it is retried after it got its page (`late`). A fault that finds the page shared exits with "
        "KVM_EXIT_MEMORY_FAULT: that is the answer, no waste."
    )
    absent: ClassVar[str] = (
        "What the VMM does with an exit is not timed: the vCPU goes on with its next page."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("line", "rwsem", "rmpupdate")
    main: ClassVar[str] = "rate"

    def cases(self) -> list[Case]:
        return cases(vcpus=_VCPUS, converting=(0, 1), way=_WAYS)

    def swept(self) -> list[Case]:
        return [
            case
            for case in self.cases()
            if (case["vcpus"], case["converting"]) in ((16, 0), (16, 1), (64, 0))
        ]

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        vcpus = case["vcpus"]
        point = Point("inplace", "snp", "refault", vcpus=vcpus + 1, pages=64 * (vcpus + 1), costs="full")
        lab = Lab(point, costs, seed, with_locked_lookup if case["way"] == "locked" else None)
        lab.touch_all()
        machine = lab.machine
        common = machine.slices[vcpus].start
        touched: list[int] = []

        async def convert(t: Task, pages: range) -> None:
            for page in pages:
                await lab.convert(t, range(page, page + 1))

        async def faults(t: Task, number: int) -> None:
            draw = Random(f"{seed}:{number}")
            vcpu = machine.vm.vcpus[number]
            await t.spend(draw.randrange(20_000))
            for page in machine.slices[number]:
                await t.spend(round(draw.expovariate(1 / 200)))
                gfn = _GFN + (page if page % 2 else common + draw.randrange(_SHARED))
                start = t.engine.now
                found = await machine.kernel.guest_access(t, vcpu, gfn, True, None)
                if found.faults:
                    lab.latencies.append(t.engine.now - start)
                touched.append(gfn)

        for number in range(vcpus):
            lab.task(number, lambda t, number=number: faults(t, number))  # type: ignore[misc]
        if case["converting"]:
            lab.beside(vcpus, convert, 5_000, _SHARED)
        events = events_of(machine, Retry, ExitMemoryFault)
        found = lab.run()
        early = sum(isinstance(event, Retry) and event.reason == "early" for event in events)
        exits = sum(isinstance(event, ExitMemoryFault) for event in events)
        touches = len(touched) * 1e6 / found["span"]
        return {**found, "touches": touches, "exits": exits, "wasted": found["retries"] - early}

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, way: str, converting: int = 1) -> float:
            return found(measure, vcpus=16, converting=converting, way=way)

        return (
            Claim(
                "Without a conversion the locked look-up costs 16 vCPUs less than 3 % (RMPUPDATE bounds them), and 64 "
                "over a quarter of their throughput: it moves the line of the lock again.",
                lambda f: (
                    of(f, "rate", "locked", 0) > 0.97 * of(f, "rate", "lock-free", 0)
                    and f("rate", vcpus=64, converting=0, way="locked")
                    < 0.75 * f("rate", vcpus=64, converting=0, way="lock-free")
                ),
            ),
            Claim(
                "With a thread that converts, it lets a fault notice that earlier: at most half as many are retried "
                "after they got their page.",
                lambda f: of(f, "wasted", "locked") < 0.5 * of(f, "wasted", "lock-free"),
            ),
            Claim(
                "Nearly none of all retries was for a stale answer: under 1 % of the faults either way were retried "
                "for a conversion of their own page, the others for the VM-wide sequence (Q15).",
                lambda f: all(
                    of(f, "retries", w) - of(f, "false_retries", w) < 0.01 * 16 * 64 for w in _WAYS
                ),
            ),
            Claim(
                "All the same faults are slower with it: 16 vCPUs have less throughput beside a thread that converts.",
                lambda f: of(f, "rate", "locked") < of(f, "rate", "lock-free"),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = [
            (
                str(case["vcpus"]),
                "yes" if case["converting"] else "no",
                case["way"],
                f"{found.of(case, 'rate'):,.0f}",
                f"{found.of(case, 'p99') / 1000:.1f}",
                f"{found.of(case, 'read_waits'):.0f}",
                f"{found.of(case, 'wasted'):.0f}",
                f"{found.of(case, 'retries'):.0f}",
                f"{found.of(case, 'retries') - found.of(case, 'false_retries'):.1f}",
                f"{found.of(case, 'exits'):.0f}",
            )
            for case in found.cases()
        ]
        head = (
            "vCPUs",
            "converting",
            "look-up",
            "faults/ms",
            "p99, µs",
            "waits for the lock",
            "wasted faults",
        )
        return [
            Table(
                "Faults, half of them on pages that are converted",
                (*head, "all retries", "for their own page", "exits"),
                rows,
            )
        ]

    def charts(self, found: Found) -> list[Chart]:
        lines = {
            f"{way}{', converting' if n else ''}": [
                (float(v), found("rate", vcpus=v, converting=n, way=way)) for v in _VCPUS
            ]
            for way in _WAYS
            for n in (0, 1)
        }
        return [Chart("faults", "vCPUs", "faults per virtual ms", lines)]
