"""Q9: a conversion that finds a page in use, and tries again."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from ...actors.errno import EAGAIN
from ...actors.inode import Process
from ..point import Point
from .lab import Lab
from .study import Case, Claim, Found, Study, Table, cases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...arch.costs import CostTable
    from ...engine.task import Task

_CHUNK = 64
_VCPUS = 8
_PINNERS = 2
#: Pause before the next try, ns, by how many failed.
_POLICIES: dict[str, Callable[[int], int]] = {
    "at once": lambda failed: 0,
    "every 10 µs": lambda failed: 10_000,
    "every 100 µs": lambda failed: 100_000,
    "doubling from 10 µs": lambda failed: 10_000 << min(failed - 1, 10),
}
_PINS = (10, 100, 1000)
_ROUNDS = 8


class Again(Study):
    key: ClassVar[str] = "Q9"
    slug: ClassVar[str] = "again"
    question: ClassVar[str] = (
        "A conversion to private fails with -EAGAIN while somebody holds a page. How often, for pins of a given "
        "length, and what is best to do then: try again at once, after a while, with doubling pauses?"
    )
    method: ClassVar[str] = (
        "`inplace`, sw-protected. A VMM thread makes 64 shared pages private and shared again, 8 times; two threads "
        "pin a random one of them for 10, 100 or 1,000 µs on average and rest for four times as long; 8 vCPUs re-fault "
        "pages of the same file. Each failed try takes the invalidate lock, unmaps the range and checks every page."
    )
    absent: ClassVar[str] = (
        "The drain of LRU batches, for which the question asks too: the pages are old, so no batch holds one and no "
        "try drains. A VMM that knows who pins could wait for it instead."
    )
    uncertain: ClassVar[tuple[str, ...]] = ("wake", "line", "host_fault", "gup")
    main: ClassVar[str] = "tries"

    def cases(self) -> list[Case]:
        return cases(pin=_PINS, policy=tuple(_POLICIES))

    def swept(self) -> list[Case]:
        return [case for case in self.cases() if case["pin"] == 100]

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        count = _VCPUS + _PINNERS + 1
        point = Point("inplace", "sw-protected", "refault", vcpus=count, pages=128 * count, costs="full")
        lab = Lab(point, costs, seed, flags=frozenset({"MMAP"}))
        lab.touch_all()
        machine = lab.machine
        kernel: Any = machine.kernel
        file, inode = machine.file, machine.file.inode
        first = machine.slices[-1].start
        chunk = range(first, first + _CHUNK)
        times: dict[str, list[int]] = {"done": [], "tries": []}
        mapping: Any = None
        busy = True

        async def prepare(t: Task) -> None:
            nonlocal mapping
            mapping = await kernel.kvm_gmem_mmap(t, file, Process("vmm"), "map0", 0, machine.pages)
            await machine.convert(t, chunk, False)

        async def pinner(t: Task, draw: Random) -> None:
            while busy:
                folio = await kernel.pin_user_page(t, mapping, draw.choice(chunk))
                if not isinstance(folio, int):
                    await t.sleep(1 + round(draw.expovariate(1 / (case["pin"] * 1000))))
                    await kernel.unpin_user_page(t, inode, folio)
                await t.sleep(1 + round(draw.expovariate(1 / (4 * case["pin"] * 1000))))

        async def converter(t: Task) -> None:
            nonlocal busy
            pause = _POLICIES[case["policy"]]
            for _ in range(_ROUNDS):
                for page in chunk:
                    await kernel.host_access(t, mapping, page, None)
                await t.sleep(50_000)
                start, failed = t.engine.now, 0
                while True:
                    done = await kernel.kvm_gmem_set_attributes(t, file, first * 4096, _CHUNK * 4096, True)
                    if done.ret != EAGAIN:
                        break
                    failed += 1
                    if wait := pause(failed):
                        await t.sleep(wait)
                assert done.ret == 0, done
                times["done"].append(t.engine.now - start)
                times["tries"].append(failed + 1)
                await machine.convert(t, chunk, False)
            busy = False

        machine.phase(("setup", prepare))
        for number in range(_VCPUS):
            lab.vcpu(number)
        for number in range(_PINNERS):
            draw = Random(f"{seed}:pins {number}")
            lab.task(_VCPUS + number, lambda t, draw=draw: pinner(t, draw))  # type: ignore[misc]
        lab.task(count - 1, converter)
        found = lab.run()
        return {
            **found,
            "tries": sum(times["tries"]) / _ROUNDS,
            "again": sum(tries > 1 for tries in times["tries"]) / _ROUNDS,
            "took": sum(times["done"]) / _ROUNDS,
        }

    def claims(self) -> Sequence[Claim]:
        def of(found: Found, measure: str, policy: str) -> float:
            return found(measure, pin=100, policy=policy)

        return (
            Claim(
                "Trying again at once makes over ten times as many tries as every 100 µs (pins of 100 µs).",
                lambda f: of(f, "tries", "at once") > 10 * of(f, "tries", "every 100 µs"),
            ),
            Claim(
                "A constant pause of 100 µs costs at most 100 µs of time against trying at once.",
                lambda f: of(f, "took", "every 100 µs") - of(f, "took", "at once") < 100_000,
            ),
            Claim(
                "Doubling pauses outgrow the pin: until the pages are private it takes longer than with 100 µs each.",
                lambda f: of(f, "took", "doubling from 10 µs") > of(f, "took", "every 100 µs"),
            ),
            Claim(
                "Doubling pauses need at most a fifth of the tries of trying at once.",
                lambda f: of(f, "tries", "doubling from 10 µs") < 0.2 * of(f, "tries", "at once"),
            ),
            Claim(
                "Faults of vCPUs beside it pay for the tries: their 99th percentile is lower with doubling pauses than "
                "with tries at once.",
                lambda f: of(f, "p99", "doubling from 10 µs") < of(f, "p99", "at once"),
            ),
        )

    def tables(self, found: Found) -> list[Table]:
        rows = [
            (
                f"{case['pin']:,}",
                case["policy"],
                f"{found.of(case, 'again'):.0%}",
                f"{found.of(case, 'tries'):.1f}",
                f"{found.of(case, 'took') / 1000:,.0f}",
                f"{found.of(case, 'write_hold_max') / 1000:.1f}",
                f"{found.of(case, 'p99') / 1000:.1f}",
            )
            for case in found.cases()
        ]
        head = (
            "pin, µs",
            "next try",
            "had to try again",
            "tries",
            "until private, µs",
        )
        return [Table("64 pages become private", (*head, "lock held at most, µs", "fault p99, µs"), rows)]
