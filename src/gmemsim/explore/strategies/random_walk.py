"""Uniform random walk: at every choice each task that can run is as likely as any other.

The baseline of every comparison: Thomson, Donaldson and Betts, "Concurrency testing using controlled schedulers"
(TOPC 2016), found that it does as well as the bounded searches on most of their programs. It is uniform over the
tasks at each step, not over the schedules, so a schedule that must hold one task back for k steps has about 2^-k of
the probability of one that need not. There is no guarantee of detection for a given number of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from ...engine.engine import Engine


class RandomWalk(RandomStrategy):
    """Picks uniformly, without end.

    Args:
        seed: the same seed gives the same schedules.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "uniform over the tasks that can run, at every step"
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = False
    complete: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.schedules = 0

    def begin(self, engine: Engine) -> bool:
        """There is always another run."""
        self.schedules += 1
        return True
