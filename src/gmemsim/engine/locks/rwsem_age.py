"""How the rw-semaphore differed by kernel release: flags for the fine grain, and the releases that matter.

Each flag names what the newer code does; `AGES` gives the set that a release had. Distribution kernels carry
backports, so a flag can be set by itself.

Where the dates differ from the specification, they follow the commits' own messages: 1ee326196c66 (wake after
a cancellation), 54c1ee4d614d (a queueing reader wakes) and f9e21aa9e6fb (R6 and HANDOFF) were all merged for
5.19; and it was a cancelled *reader* that woke nobody, while a cancelled writer woke the head even if it was
not the head itself.

Not modelled: readers that spin (5.3 to 5.10; they queue instead), the hint about the last reader owner (5.9),
the HANDOFF bit that could be cleared twice before 5.16, and contention tracepoints, which came with 5.19 and
are always on here.
"""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class RwSemAge:
    """Which of the newer rules hold; by default all.

    Attributes:
        whole_queue: a wake-up takes readers from the whole queue, at most 256 (5.9); before, the unbroken run
            of readers at the head.
        reader_steal: a reader may ignore the queue of a free lock, R4 (5.11).
        handoff_per_waiter: HANDOFF belongs to the entry with `handoff_set` (5.16); before, to whoever is the
            head.
        wake_after_cancel: a cancelled head, reader or writer, wakes the entry behind it (5.19); before, a
            cancelled writer always did, a cancelled reader never.
        eager_reader_wake: a reader that queues looks whether the head can go, R8 (5.19); before, only if the
            lock was free or the reader alone in the queue.
        orphan_handoff: a writer that is not the head may use a HANDOFF whose entry was cancelled (6.0).
        immediate_needs_no_handoff: R6 also asks for a clear HANDOFF (before 5.19).
        contended_release: releases with a queue are counted (2026).
    """

    whole_queue: bool = True
    reader_steal: bool = True
    handoff_per_waiter: bool = True
    wake_after_cancel: bool = True
    eager_reader_wake: bool = True
    orphan_handoff: bool = True
    immediate_needs_no_handoff: bool = False
    contended_release: bool = True


_V6_0: Final = RwSemAge(contended_release=False)
_V5_19: Final = attrs.evolve(_V6_0, orphan_handoff=False)
_V5_16: Final = attrs.evolve(
    _V5_19, wake_after_cancel=False, eager_reader_wake=False, immediate_needs_no_handoff=True
)
_V5_11: Final = attrs.evolve(_V5_16, handoff_per_waiter=False)
_V5_9: Final = attrs.evolve(_V5_11, reader_steal=False)
_V5_3: Final = attrs.evolve(_V5_9, whole_queue=False)

#: The rules of a release, by the first release that had them.
AGES: Final = {
    "5.3": _V5_3,
    "5.9": _V5_9,
    "5.11": _V5_11,
    "5.16": _V5_16,
    "5.19": _V5_19,
    "6.0": _V6_0,
    "2026": RwSemAge(),
}
