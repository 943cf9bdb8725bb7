"""Damaged vector files: whatever is in one, `gmemsim conform` ends with 0, 1, or 2 and one line.

`python tests/scenarios/conform/mutants.py --count 3000 --seed 1` runs the long form and prints a line for each mutant
that breaks the rule; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import copy
import json
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from click.testing import CliRunner

from gmemsim.cli.conform import command
from gmemsim.scenarios.conform.suite import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Mutant", "judge", "mutants"]

#: Seconds that one mutant may take: everything in a file is bounded.
LIMIT: Final = 60

#: Values that stand where another was.
STRANGE: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, -4096, 4097, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, 1 << 64, -(1 << 63),
    10**30, 0.5, 1e30, -0.0, "", "x", "g0", "vcpu7", "host", "ok", "value", "EINVAL", "error", "any_of", "\u0000",
    [], [1], ["PRIVATE"], [[]], {}, {"result": "ok"}, {"zzz": 1},
)  # fmt: skip

Path_ = tuple[Any, ...]


class Mutant:
    """A damaged file: its bytes, what was done, and whether it asks for something that nobody knows."""

    def __init__(self, data: bytes, kind: str, unknown: bool = False) -> None:
        self.data = data
        self.kind = kind
        self.unknown = unknown


def originals() -> list[dict[str, Any]]:
    """The vectors to damage: all but those with thousands of steps or huge pages, which take long anyway."""
    lines = [line for path in EMBEDDED for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines if len(line) < 12_000 and "HUGETLB" not in line]


def mutants(seed: int, count: int) -> Iterator[Mutant]:
    """The same ones for the same seed."""
    random = Random(seed)
    known = originals()
    for _ in range(count):
        document = copy.deepcopy(random.choice(known))
        if random.random() < 0.2:
            yield _bytes(random, json.dumps(document).encode())
            continue
        kind, change = random.choice(_CHANGES)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            change(random, document, known)
        yield Mutant(json.dumps(document).encode(), kind, kind == "unknown key")


def judge(mutant: Mutant, path: Path, patch: str = "v3") -> str:
    """What is wrong with how the command took it; empty: nothing."""
    path.write_bytes(mutant.data)
    result = CliRunner().invoke(command, [str(path), "--patch", patch, "--schedules", "1", "--json"])
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    if result.exit_code == 2 and (len(result.stderr.splitlines()) != 1 or len(result.stderr) > 2_000):
        return f"{len(result.stderr.splitlines())} lines, {len(result.stderr)} characters"
    if mutant.unknown and result.stdout and json.loads(result.stdout)["passed"]:
        return "passed what it does not know"
    return ""


# -- damage ------------------------------------------------------------------------------------------------


def _bytes(random: Random, data: bytes) -> Mutant:
    """The text itself."""
    place = random.randrange(len(data))
    span = random.randrange(1, 60)
    kind = random.choice(("flip", "cut", "drop", "repeat", "insert", "deep"))
    match kind:
        case "flip":
            data = data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
        case "cut":
            data = data[:place]
        case "drop":
            data = data[:place] + data[place + span :]
        case "repeat":
            data = data[: place + span] + data[place:]
        case "insert":
            piece = random.choice(
                (b"\\ud800", b"\xff", b"\x00", b"\n", b'"', b"}", b"]", b"1e999", b"NaN", b"{}")
            )
            data = data[:place] + piece + data[place:]
        case "deep":
            data = data[:place] + random.choice((b"[", b'{"a":')) * 50_000 + data[place:]
    return Mutant(data, kind)


def _places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from _places(item, (*path, name))


def _at(document: Any, path: Path_) -> Any:
    for name in path:
        document = document[name]
    return document


def _pick(random: Random, document: Any, wanted: Callable[[Any], bool]) -> Path_ | None:
    """A place below the top whose value is wanted."""
    found = [path for path in _places(document) if path and wanted(_at(document, path))]
    return random.choice(found) if found else None


def _retype(random: Random, document: Any, known: list[Any]) -> None:
    path = _pick(random, document, lambda value: True)
    if path is not None:
        _at(document, path[:-1])[path[-1]] = copy.deepcopy(random.choice(STRANGE))


def _delete(random: Random, document: Any, known: list[Any]) -> None:
    path = _pick(random, document, lambda value: True)
    if path is not None:
        del _at(document, path[:-1])[path[-1]]


def _unknown(random: Random, document: Any, known: list[Any]) -> None:
    """In any object that the format describes; `source` is the author's own."""
    found = [
        path
        for path in _places(document)
        if isinstance(_at(document, path), dict) and "source" not in path and path[:1] != ("verified_on",)
    ]
    _at(document, random.choice(found))["zzz"] = random.choice(STRANGE)


def _shift(random: Random, document: Any, known: list[Any]) -> None:
    path = _pick(random, document, lambda value: isinstance(value, int) and not isinstance(value, bool))
    if path is not None:
        old = _at(document, path)
        new = random.choice(
            (-old, old + 1, old - 1, old * 4096, old // 2, old + 4096, old ^ 1 << random.randrange(64))
        )
        _at(document, path[:-1])[path[-1]] = new


def _repeat(random: Random, document: Any, known: list[Any]) -> None:
    path = _pick(random, document, lambda value: isinstance(value, list) and len(value) > 0)
    if path is not None:
        items = _at(document, path)
        items.insert(random.randrange(len(items) + 1), copy.deepcopy(random.choice(items)))


def _graft(random: Random, document: Any, known: list[Any]) -> None:
    """A value of another vector, from the same key."""
    path = _pick(random, document, lambda value: True)
    other = random.choice(known)
    if path is None:
        return
    found = [each for each in _places(other) if each and each[-1] == path[-1]]
    if found:
        _at(document, path[:-1])[path[-1]] = copy.deepcopy(_at(other, random.choice(found)))


def _swap(random: Random, document: Any, known: list[Any]) -> None:
    """Two steps."""
    steps = document.get("steps")
    if isinstance(steps, list) and len(steps) > 1:
        first, second = random.randrange(len(steps)), random.randrange(len(steps))
        steps[first], steps[second] = steps[second], steps[first]


_CHANGES: Final[tuple[tuple[str, Callable[[Random, Any, list[Any]], None]], ...]] = (
    ("type", _retype),
    ("delete", _delete),
    ("unknown key", _unknown),
    ("number", _shift),
    ("repeat", _repeat),
    ("graft", _graft),
    ("order", _swap),
)


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patch", default="v3")
    options = parser.parse_args()
    broken = 0
    kinds: Counter[str] = Counter()

    def slow(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {LIMIT} s")

    signal.signal(signal.SIGALRM, slow)
    with tempfile.TemporaryDirectory() as folder:
        for number, mutant in enumerate(mutants(options.seed, options.count)):
            signal.alarm(LIMIT)
            wrong = judge(mutant, Path(folder) / "mutant.jsonl", options.patch)
            signal.alarm(0)
            kinds[mutant.kind] += 1
            if wrong:
                broken += 1
                kept = Path(f"mutant-{options.seed}-{number}.jsonl")
                kept.write_bytes(mutant.data)
                print(f"{kept}: {mutant.kind}: {wrong}", flush=True)
    print(
        f"{options.count} mutants, {broken} broke the rule;",
        ", ".join(f"{k}: {n}" for k, n in sorted(kinds.items())),
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
