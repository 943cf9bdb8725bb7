"""Drawn workloads on versions as they are: what do all oracles say of them?

    python bench/drawn.py [--patch NAME ...] [--seconds N] [--first-seed N] [--keep DIRECTORY]

Each seed draws a version, a VM type, a file of one to three pages (of 512 or 1,024, huge, where
the version has them), one or two vCPUs and one to three VMM threads with
up to three operations each, now and then a fault point, and searches 40 schedules with one of four strategies. What
fails is counted by rule and lock classes; with --keep the first four scenarios of each are written out, for
`gmemsim explore`. Expected are failures that need memory failure (drawn in 4 % of the workloads); in place, I28 where
a guest's shared access meets the deletion of a slot; launch pages added on SNP after the launch; on `hugepage` the
hang of look-up against split. See docs/findings and docs/model.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from random import Random

from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.scenario import loads

#: Fault points after which nothing may be wrong. Not among them: a failing look-up in the RMP, after which pages leak.
FAULTS = ("need_resched", "alloc_folio", "alloc_attributes", "signal", "mmu_topup")
STRATEGIES = ("random", "pos", "portfolio", "surw")


class Draw:
    """One workload."""

    def __init__(self, seed: int, patches: list[str]) -> None:
        self.random = random = Random(seed)
        self.patch = random.choice(patches)
        self.in_place = load_patch(self.patch).in_place
        kinds = ["sw-protected", "snp", "tdx"] + ["default"] * (random.random() < 0.3)
        self.arch = random.choice(kinds)
        self.huge = load_patch(self.patch).huge_pages and random.random() < 0.8
        self.pages = random.choice((512, 512, 1024) if self.huge else (1, 2, 2, 3))
        self.poison = random.random() < 0.04
        self.launch = self.arch in ("snp", "tdx") and random.random() < 0.35
        self.mapped = self.in_place or self.arch == "default"
        self.policy = random.choice(("stop", "convert", "reenter"))

    def span(self) -> str:
        """Some of the pages."""
        random, pages = self.random, self.pages
        if not self.huge:
            start = random.randrange(pages)
            return f"start = {start}, count = {random.randint(1, pages - start)}"
        # A whole huge page, all of the file, or one or two pages near an edge: anything else only costs steps.
        base = random.randrange(0, pages, 512)
        if random.random() < 0.4:
            start, count = random.choice(((0, pages), (base, 512)))
        else:
            start, count = base + random.choice((0, 1, 510, 511)), random.randint(1, 2)
        return f"start = {start}, count = {min(count, pages - start)}"

    def few(self) -> str:
        """One or two pages, for accesses page by page."""
        if not self.huge:
            return self.span()
        start = self.random.randrange(0, self.pages, 512) + self.random.choice((0, 1, 511))
        return f"start = {start}, count = 1"

    def guest(self) -> str:
        """An operation of a vCPU; before the launch is finished none may touch memory."""
        span, random = self.few(), self.random
        if self.launch:
            return f'op = "prefault", {span}'
        ops = [f'op = "touch", {span}', f'op = "touch", {span}, write = "{{task}}"']
        ops += [f'op = "read", {span}', f'op = "prefault", {span}']
        if self.in_place and self.arch != "default":
            ops.append(f'op = "hypercall", private = {random.choice(("true", "false"))}, {span}')
        if self.arch in ("snp", "tdx") and self.policy != "reenter" and random.random() < 0.3:
            # Entered again, an access of the wrong kind exits for ever.
            ops.append(f'op = "read", private = {random.choice(("true", "false"))}, {span}')
        return random.choice(ops)

    def vmm(self) -> str:
        """An operation of a VMM thread."""
        span, random = self.span(), self.random
        ops = [f'op = "punch", {span}'] * 2 + [f'op = "allocate", {span}']
        if self.arch != "default":
            for private in ("true", "false"):
                ops.append(f'op = "convert", private = {private}, {span}')
                if self.in_place:
                    tries = random.randint(1, 3)
                    ops.append(f'op = "set_file_attributes", private = {private}, {span}, attempts = {tries}')
        if self.mapped:
            few = self.few()
            ops += [f'op = "{name}", map = "m", {few}' for name in ("host_read", "madvise", "pin", "unpin")]
            ops.append(f'op = "host_write", map = "m", value = "h", {few}')
            if random.random() < 0.2:
                ops.append('op = "munmap", map = "m"')
        if self.poison:
            ops.append(f'op = "memory_failure", start = {random.randrange(self.pages)}, count = 1')
        if random.random() < 0.25:
            ops += ['op = "unbind", slot = 0', 'op = "bind", slot = 0', 'op = "close", file = "gmem0"']
        if self.launch:
            ops += [f'op = "populate", source = "image", {self.few()}', 'op = "launch_finish"']
        return random.choice(ops)

    def text(self, name: str) -> str:
        """The scenario."""
        random = self.random
        shared = self.arch == "default" or (self.in_place and random.random() < 0.5)
        flags = ["MMAP", "INIT_SHARED"] if shared else ["MMAP"] if self.mapped else []
        flags += ["HUGETLB", "HUGETLB_2M"] if self.huge else []
        lines = ["[scenario]", f'name = "{name}"', 'summary = "Drawn"', 'question = "Is anything wrong?"']
        lines += ["[[vm]]", 'id = "vm0"', 'accept = "tolerant"', f'on_memory_fault = "{self.policy}"']
        if self.arch == "tdx":
            lines.append("choices = { sept_ve_disable = false }")
        lines += ["[[file]]", 'id = "gmem0"', f"pages = {self.pages}", f"flags = {json.dumps(flags)}"]
        lines += ["[[slot]]", "id = 0", 'file = "gmem0"', "gfn = 0x10000"]
        if self.mapped:
            lines += ["[[map]]", 'id = "m"', 'file = "gmem0"']
        if self.launch:
            lines += ["[setup]", "finalize = false"]
        for role, most, draw in (("vcpu", 2, self.guest), ("host", 3, self.vmm)):
            for number in range(random.randint(1, most)):
                ops = ", ".join(f"{{ {draw()} }}" for _ in range(random.randint(1, 3)))
                who = 'role = "vcpu"' if role == "vcpu" else f'name = "t{number}"'
                lines += ["[[task]]", who, f"ops = [{ops}]"]
        if random.random() < 0.35:
            lines += ["[faults]", f"{random.choice(FAULTS)} = {random.randint(1, 2)}"]
        return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", nargs="+", default=["v3", "mainline-7.3", "inplace-v8", "inplace"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a directory for the scenarios that fail")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    seed = given.first_seed
    schedules = 0
    counts: dict[tuple[str, str, str], int] = {}
    while time.monotonic() - began < given.seconds:
        drawn = Draw(seed, given.patch)
        text = drawn.text(f"drawn{seed}")
        program = ScenarioProgram(
            scenario=loads(text, "drawn.toml"), patch=drawn.patch, arch=drawn.arch, small=False
        )
        strategy = make_strategy(STRATEGIES[seed % len(STRATEGIES)], seed)
        result = search(program, strategy, Limits(schedules=40, steps=6000), keep_going=True, judge=judge)
        schedules += result.schedules
        for found in result.found:
            failure = found.failure
            kind = "" if failure.rule == "livelock" else failure.kind
            key = failure.rule, kind, "with memory failure" if drawn.poison else ""
            counts[key] = counts.get(key, 0) + 1
            if given.keep is not None and counts[key] <= 4:
                path = given.keep / f"{failure.rule.replace(':', '_')}-{drawn.patch}-{drawn.arch}-{seed}.toml"
                path.write_text(f"# {failure.summary}\n{text}")
        seed += 1
    print(f"{seed - given.first_seed:,} workloads, {schedules:,} schedules, {time.monotonic() - began:.0f} s")
    for (rule, kind, poison), count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:6} {rule} {kind} {poison}".rstrip())


if __name__ == "__main__":
    main()
