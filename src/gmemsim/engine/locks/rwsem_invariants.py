"""What must hold after any step of an rw-semaphore, at either grain; for oracles and tests.

The promises P1 to P8 of the specification that are about one state, and what its test C8 asks of a cancellation. Those
about histories (each entry is used up once, nobody passes a hand-off, the bound for the head) need two states or a
whole run and live in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rwsem_fine_core import HANDOFF, READER, WAITERS, WRITER, FineCore
from .rwsem_queue import BATCH

if TYPE_CHECKING:
    from .rwsem_core import RwSemCore


def violations(lock: RwSemCore | FineCore, at_rest: bool = False) -> list[str]:
    """The promises that the present state of `lock` breaks, each as one line that begins with its name.

    Args:
        lock: of either grain, between two steps.
        at_rest: no task is inside an operation, other than asleep in the queue.
    """
    return _fine(lock, at_rest) if isinstance(lock, FineCore) else _coarse(lock)


def _coarse(lock: RwSemCore) -> list[str]:
    found: list[str] = []
    queue = lock.queue
    if lock.writer is not None and lock.read_phase():
        found.append(f"P1: {lock.writer.name} writes while {lock.read_phase()} readers hold {lock.label}")
    free = lock.writer is None and not lock.read_phase()
    if free and queue and queue[0].task.parked_on is lock:
        found.append(f"P4: {lock.label} is free and nobody wakes {queue[0].task.name}")
    shared = lock.writer is None and 0 < lock.read_phase() < BATCH
    if shared and queue and not queue[0].write and not queue[0].granted:
        # The specification's test C8; a batch takes 256 at most, so that more readers may leave some behind.
        found.append(
            f"C8: only readers hold {lock.label}, and {queue[0].task.name} waits at the head of its queue"
        )
    if lock.handoff and not queue:
        found.append(f"P8: {lock.label} is promised to nobody")
    return found


def _fine(lock: FineCore, at_rest: bool) -> list[str]:
    found: list[str] = []
    count = lock.count
    writer, readers, biases = lock.books()
    if writer and readers:
        found.append(f"P1: {lock.label} is granted to a writer and to {readers} readers")
    if writer != bool(count & WRITER):
        found.append(f"P1: the count {count:#x} of {lock.label} is wrong about the writer")
    if count // READER != readers + biases:
        found.append(f"P2: {lock.label} counts {count // READER}, not {readers} readers and {biases} biases")
    if lock.wait_lock.holder is None:
        # With the queue locked, the count may be a step behind it.
        if bool(count & WAITERS) != bool(lock.queue):
            found.append(f"P2: the count {count:#x} of {lock.label} is wrong about its queue")
        if count & HANDOFF and not lock.queue:
            found.append(f"P8: {lock.label} is promised to nobody")
    if at_rest and lock.queue and not count & WRITER and count < READER:
        found.append(f"P4: {lock.label} is free and nobody wakes {lock.queue[0].task.name}")
    if at_rest and biases:
        found.append(f"P2: {lock.label} keeps {biases} biases of nobody")
    return found
