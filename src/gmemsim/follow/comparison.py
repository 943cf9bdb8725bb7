"""Does what the model shows agree with what the trace has? Frames get their numbers when they are first seen."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .other_threads import HELP_ROUNDS, OtherThreads
from .probes import Observation
from .thread import Rejected

if TYPE_CHECKING:
    from .frames import Frames
    from .thread import Thread


class Comparison(OtherThreads):
    """The comparison of one observation with one event of the trace."""

    frames: Frames

    def compare(self, thread: Thread, shown: Observation, seen: Observation) -> None:
        """One with the other.

        Raises:
            Rejected: they differ.
        """
        if shown.name != seen.name:
            raise Rejected(f"here the model's {thread.name} does {shown}")
        if shown.name in ("filemap_add", "page_cache_add"):
            self._bind(thread, shown, seen)
            return
        for ours, theirs in zip(shown[1:], seen[1:], strict=True):
            if ours is not None and theirs is not None and ours != theirs:
                raise Rejected(f"here the model's {thread.name} does {shown}")

    def _bind(self, thread: Thread, shown: Observation, seen: Observation) -> None:
        if shown.a != seen.a:
            raise Rejected(f"here the model's {thread.name} does {shown}")
        if shown.b is not None or not isinstance(seen.b, int):
            if shown.b != seen.b:
                raise Rejected(f"here the model's {thread.name} inserts frame {shown.b:#x}")
            return
        # The insertion itself fixes the number: filemap_add may be of a frame that loses the race.
        if seen.name == "page_cache_add" or "page_cache_add" not in self.probed:
            folio = self.setup.gmem.inode.folios.get(int(seen.a))  # type: ignore[arg-type]
            if folio is None:
                raise Rejected(f"index {seen.a} is not in the model's page cache here")
            problem = self.frames.bind(folio.pfn, seen.b, int(seen.a))  # type: ignore[arg-type]
            if problem and self._let_go(seen.b):
                problem = self.frames.bind(folio.pfn, seen.b, int(seen.a))  # type: ignore[arg-type]
            if problem:
                raise Rejected(problem)
            self._translate(thread, folio.pfn, seen.b)

    def _let_go(self, real: int) -> bool:
        """Take silent steps until the frame is free: somebody's last reference has not been dropped yet."""
        for other in self.threads.values():
            for _ in range(HELP_ROUNDS):
                if self.frames.index_of(real) is None:
                    return True
                if not self._may_move(other):
                    break
                self.step(other)
        return self.frames.index_of(real) is None

    @staticmethod
    def _translate(thread: Thread, model: int, real: int) -> None:
        """Observations made before the frame had its number carry the model's; give them the trace's."""
        thread.shown = deque(
            Observation(
                o.name, *(real if value == model and o.name != "get_pfn" else value for value in o[1:])
            )
            for o in thread.shown
        )
