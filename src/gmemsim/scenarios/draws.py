"""Reproducible numbers for a run, keyed by what they are for: removing one leaves the others as they were."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

    from ..engine.engine import Engine
    from ..engine.task import Task

#: In a timed run a fault point with budget left fires once in so many visits.
RARITY: Final = 8


def keyed_number(*key: object) -> int:
    """A number in [0, 2**64) that depends on `key` only: the same everywhere and in every Python."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class SeededDraws:
    """Strategy of a timed run: who runs next is a matter of time, every other draw follows from the seed.

    Args:
        seed: of the run.
        rare: labels of fault points, which fire once in `RARITY` visits.
    """

    def __init__(self, seed: int, rare: Container[str] = ()) -> None:
        self.seed = seed
        self.rare = rare
        self._seen: dict[str, tuple[int, dict[str, int]]] = {}

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return runnable[0] if current is None else current

    def draw(self, task: Task, label: str, bound: int) -> int:
        call, counts = self._seen.get(task.name, (-1, {}))
        if call != task.call:
            counts = {}
            self._seen[task.name] = (task.call, counts)
        count = counts[label] = counts.get(label, 0) + 1
        number = keyed_number(self.seed, task.name, task.call, label, count)
        if label in self.rare:
            return 1 if number % RARITY == 0 else 0
        return number % bound
