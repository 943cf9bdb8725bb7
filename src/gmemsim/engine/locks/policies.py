"""The lock policies by name: what a scenario may put in the place of the invalidate lock.

A range lock is missing on purpose: it needs to know the range, which `down_read` and `down_write` are not
told, so it is a change to the callers and not a policy of the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .rival_none import NoLock
from .rival_percpu import PerCpuRwSem
from .rival_srcu import SrcuRwLock
from .rivals import FifoFair, PhaseFair, ReaderPreferring, WriterPreferring
from .rwsem import RwSem
from .rwsem_fine import FineRwSem
from .rwsem_rt import RtRwSem

if TYPE_CHECKING:
    from .rwsem_protocol import RwLock

#: The default first, then the semaphore's other forms, then the rivals.
LOCK_POLICIES: Final[dict[str, type[RwLock]]] = {
    "rwsem": RwSem,
    "rwsem-fine": FineRwSem,
    "rwsem-rt": RtRwSem,
    "fifo": FifoFair,
    "reader-preferring": ReaderPreferring,
    "writer-preferring": WriterPreferring,
    "phase-fair": PhaseFair,
    "percpu": PerCpuRwSem,
    "srcu": SrcuRwLock,
    "none": NoLock,
}
