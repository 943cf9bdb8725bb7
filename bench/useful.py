"""Is the comparison of versions useful: rows, noise and the rank of the series' own change, scenario by scenario.

    python bench/useful.py [--seeds N]

For each of 16 scenarios: how many rows `v3` against itself has between the first and the second half of the seeds, how
many each pair of versions has, how many more were folded as noise, and at which rank the series' change stands where it
happens: `prepare` after `set_uptodate` instead of before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

CASES = (
    ("punch", "snp"), ("same", "snp"), ("conv1", "snp"), ("conv1", "tdx"), ("prefault", "tdx"), ("slot_delete", "snp"),
    ("hot1", "sw-protected"), ("mmap_punch", "default"), ("memory_failure", "snp"), ("populate_twice", "snp"),
    ("populate_busy", "snp"), ("launch", "tdx"), ("host_private", "sw-protected"), ("implicit_convert", "snp"),
    ("recycle", "snp"), ("lazy_accept", "tdx"),
)  # fmt: skip
PAIRS = (
    ("v3", "v3"), ("baseline", "v3"), ("v1", "v3"), ("v2", "v3"), ("v3", "mainline-7.3"), ("mainline-7.3", "inplace"),
    ("baseline", "inplace"),
)  # fmt: skip


def compare(left: str, right: str, scenario: str, arch: str, seeds: int, small: bool) -> str:
    """Rows, folded rows and the rank of the change, or why there is no answer."""
    command = [
        sys.executable, "-m", "gmemsim", "diff", left, right, "--scenario", scenario, "--arch", arch,
        "--seeds", str(seeds), "--json", *(["--small"] if small else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        return "refused"
    found = json.loads(done.stdout)
    rank = next(
        (number for number, row in enumerate(found["changes"], 1) if row["kind"] == "preparation"), None
    )
    text = f"{len(found['changes'])} ({found['noise']})"
    return text if rank is None else f"{text}, rank {rank}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--small", action="store_true", help="the scenarios' small sizes")
    arguments = parser.parse_args()
    print("| scenario, VM type | " + " | ".join(f"{left} → {right}" for left, right in PAIRS) + " |")
    print("|---" * (len(PAIRS) + 1) + "|")
    for scenario, arch in CASES:
        cells = [compare(*pair, scenario, arch, arguments.seeds, arguments.small) for pair in PAIRS]
        print(f"| {scenario} {arch} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
