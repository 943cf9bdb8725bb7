"""Which locks two storms wait for on a stock kernel, beside what `gmemsim bench contention` says.

    python bench/kernel_contention.py [--kernel 7.3.4] [--rounds 3]

The kernel's are from the tracepoints of `perf lock contention` (lock:contention_begin and _end), with the caller, in
the lab's virtual machine. QEMU emulates it, so that only the order means anything, and a virtual CPU may lose its
processor while it holds a lock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from lock_waits import LOCK_EVENTS, Waits, waits_of

from gmemsim.lab.kernels import find_kernel
from gmemsim.lab.machine import Machine
from gmemsim.lab.runs import run_programs
from gmemsim.lab.translate import Program, Steering, translate
from gmemsim.lab.versions import version_of
from gmemsim.scenarios.scenario import loads

VCPUS, PAGES = 4, 512
BACKGROUNDS = ("none", "punch")

HEAD = f"""
[scenario]
name = "storm"
summary = "a storm of faults"
vm_types = ["default"]
[[vm]]
[[file]]
id = "gmem0"
pages = {PAGES + 16}
[[slot]]
file = "gmem0"
gfn = 0x10000
"""

VCPU = """
[[task]]
role = "vcpu"
ops = [{{ op = "touch", start = {start}, count = {count} }}]
"""

#: A chunk of their own is punched and touched again as long as the others are at it, and longer.
CHUNK = f"""
[[task]]
name = "host"
repeat = 200
ops = [{{ op = "punch", start = {PAGES}, count = 16 }}]
[[task]]
role = "vcpu"
repeat = 200
ops = [{{ op = "touch", start = {PAGES}, count = 16 }}]
"""


def storm(background: str) -> Program:
    """First touch of every page, each vCPU its own, and perhaps a thread that punches other pages meanwhile."""
    each = PAGES // VCPUS
    vcpus = "".join(VCPU.format(start=number * each, count=each) for number in range(VCPUS))
    text = HEAD + vcpus + (CHUNK if background == "punch" else "")
    return translate(loads(text, "storm").resolve(), "default")


def of_model(patch: str, background: str) -> list[dict[str, Any]]:
    """Rows of the same storm in virtual time."""
    command = [
        sys.executable, "-m", "gmemsim", "bench", "contention", "--vcpus", str(VCPUS), "--patch", patch, "--arch",
        "default", "--storm", "first-touch", "--pages", str(PAGES), "--background", background, "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (point,) = json.loads(done.stdout)
    return sorted(point["perf"], key=lambda row: -row["total"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", default="7.3.4")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    kernel = find_kernel(options.kernel)
    for background in BACKGROUNDS:
        program = storm(background)
        steering = Steering(rounds=options.rounds, spread_ns=0, trace=True, each=True)
        runs = run_programs(kernel, [program], steering, machine=Machine(cpus=6), probes=LOCK_EVENTS)
        traces = runs.runs[0].traces
        rows: list[Waits] = waits_of(text.decode("utf-8", "replace") for text, _ in traces)
        print(
            f"{kernel.release}, first-touch, background {background}: {len(traces)} rounds, "
            f"{sum(lost for _, lost in traces)} events lost"
        )
        for wait in rows[:12]:
            print(f"  {wait.count:>7} {wait.total * 1e3:>10.2f} ms  {wait.kind:<10} {wait.caller}")
        print(f"  gmemsim {version_of(kernel)}:")
        for row in of_model(version_of(kernel), background):
            print(f"  {row['count']:>7} {row['total'] / 1e6:>10.2f} ms  {row['type']:<10} {row['caller']}")


if __name__ == "__main__":
    main()
