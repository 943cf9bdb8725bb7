"""Give mutated inputs to the commands that read them, in this process, and judge how each ends.

`python -m tests.fuzz.run --count 20000 --seed 1` is `make fuzz`; what is not as it should be is kept under build/fuzz.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from tests.fuzz.targets import TARGETS

from gmemsim.cli.group import cli
from gmemsim.engine.interrupts import TimeUp, deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Bad", "fuzz", "one"]

#: Seconds that an input may take, and bytes of the whole process.
_SECONDS = 60.0
_MEMORY = 3 << 30


class Bad(Exception):
    """An input that was not answered as it should be."""


def one(kind: str, seed: int, folder: Path) -> int:
    """Make the input of that kind and number, run its command, and give the exit code.

    Raises:
        Bad: neither 0 nor 1, nor 2 with one line.
    """
    target = TARGETS[kind]
    random = Random(f"{kind} {seed}")
    path = folder / target.name
    path.unlink(missing_ok=True)
    path.write_bytes(target.make(random))
    arguments = [word.replace("FILE", str(path)) for word in target.command(random)]
    result: Any = None
    try:
        with deadline(_SECONDS):
            result = CliRunner().invoke(cli, arguments, catch_exceptions=True)
    except TimeUp:
        raise Bad(f"no end in {_SECONDS:g} s") from None
    if result.exit_code == 130:
        raise Bad(f"no end in {_SECONDS:g} s")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise Bad(f"{type(result.exception).__name__}: {result.exception}")
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    if result.exit_code not in (0, 1, 2):
        raise Bad(f"exit code {result.exit_code}")
    if "internal error" in result.stderr or "Traceback (most" in result.stderr:
        raise Bad(result.stderr.strip()[:400])
    if result.exit_code == 2 and len(lines) != 1:
        raise Bad(f"exit code 2 with {len(lines)} lines: {result.stderr[:400]}")
    return int(result.exit_code)


def fuzz(
    kinds: Iterable[str], count: int, first: int, keep: Path | None = None
) -> tuple[Counter[tuple[str, int]], list[str]]:
    """`count` inputs of each kind: how often each exit code came, and what was wrong."""
    codes: Counter[tuple[str, int]] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in kinds:
            for seed in range(first, first + count):
                try:
                    codes[kind, one(kind, seed, folder)] += 1
                except Bad as error:
                    wrong.append(f"{kind} {seed}: {error}")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        data = (folder / TARGETS[kind].name).read_bytes()
                        (keep / f"{kind}-{seed}-{TARGETS[kind].name}").write_bytes(data)
                        print(wrong[-1], flush=True)
    return codes, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--kind", action="append", choices=TARGETS, help="only these; can be repeated")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    kinds = options.kind or list(TARGETS)
    began = time.monotonic()
    codes, wrong = fuzz(kinds, -(-options.count // len(kinds)), options.seed, Path("build") / "fuzz")
    for kind in kinds:
        shown = ", ".join(f"{code}: {codes[kind, code]:,}" for code in (0, 1, 2))
        print(f"{kind:14} {shown}")
    total = sum(codes.values()) + len(wrong)
    print(f"{total:,} inputs in {time.monotonic() - began:.0f} s, {len(wrong)} wrong (seed {options.seed})")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    sys.exit(main())
