"""Are the logs of the whole library the same before and after a change that should change nothing?

    python bench/same_logs.py --src OLD/src --out before.json
    python bench/same_logs.py --out after.json --against before.json

One timed run of every scenario of the library in its small form, on every version and VM type that it is for, seed 1;
of each the digest of its events, with task and time. Exit code 1 and a line for each that differs.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = ("baseline", "v1", "v2", "v3", "mainline-7.3", "inplace-v8", "inplace", "hugepage")


def digests() -> dict[str, str]:
    """By `scenario version VM type`: SHA-256 of the events, or what the run was refused with."""
    import msgspec

    import gmemsim
    from gmemsim.arch.registry import ARCHES
    from gmemsim.scenarios.catalogue import load_named, names

    found = {}
    for name in names():
        scenario = load_named(name)
        for version in VERSIONS:
            for vm_type in scenario.head.vm_types or ARCHES:
                try:
                    ran = gmemsim.run(scenario, version, vm_type, seed=1, log=True, small=True)
                except Exception as error:  # any refusal is an answer that has to stay as well
                    said = f"{type(error).__name__}: {error}"
                else:
                    text = hashlib.sha256()
                    for task, event in ran.log:
                        text.update(
                            f"{task} {type(event).__name__} ".encode() + msgspec.json.encode(event) + b"\n"
                        )
                    said = text.hexdigest()
                found[f"{name} {version} {vm_type}"] = said
    return found


def main() -> int:
    """Write the digests; compare them if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--src", type=Path, default=ROOT / "src", help="the package to run: the src of a checkout"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    args = parser.parse_args()
    sys.path.insert(0, str(args.src.resolve()))
    import msgspec

    found = digests()
    args.out.write_bytes(msgspec.json.encode(found))
    if args.against is None:
        print(f"{len(found)} runs")
        return 0
    before = msgspec.json.decode(args.against.read_bytes(), type=dict[str, str])
    wrong = sorted(key for key in {*found, *before} if found.get(key) != before.get(key))
    for key in wrong:
        print(f"{key}: {before.get(key, 'not there')} before, {found.get(key, 'not there')} now")
    print(f"{len(found)} runs, {len(wrong)} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
