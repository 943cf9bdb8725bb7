"""Digests of states that somebody looks at, in memory that several processes share.

An open hash table of 16 bytes a place, without a lock. Two processes that add a state at the same time may both be told
that it is new, and one may write over what the other has just written; then a state is looked at twice. That a state is
there and nobody has added it would take a half-written digest that is the digest of another state.
"""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from typing import Final, cast

#: Bytes of a digest; a place of zeros is free.
_WIDTH: Final = 16
_FREE: Final = bytes(_WIDTH)
#: Places that are looked at before a table counts as full.
_TRIES: Final = 64


class Claimed:
    """The table; as a context it is let go of at the end.

    Args:
        name: of a table that is there; empty: a new one, which goes with this object.
        places: of a new one, how many digests it has room for; a power of two.
    """

    def __init__(self, name: str = "", places: int = 1 << 16) -> None:
        self._memory = SharedMemory(name or None, create=not name, size=places * _WIDTH if not name else 0)
        self._owned = not name
        self.name = self._memory.name
        self._bytes = cast("memoryview", self._memory.buf)
        # What the system gives is rounded up to whole pages, which makes no difference to a power of two above 256.
        self._mask = self._memory.size // _WIDTH - 1

    @property
    def places(self) -> int:
        return self._mask + 1

    def __enter__(self) -> Claimed:
        return self

    def __exit__(self, *error: object) -> None:
        self._memory.close()
        if self._owned:
            self._memory.unlink()

    def add(self, digest: bytes) -> bool:
        """Whether a digest was not there yet; now it is, if there was room."""
        memory, mask = self._bytes, self._mask
        place = int.from_bytes(digest[:8], "little")
        for _ in range(_TRIES):
            at = (place & mask) * _WIDTH
            found = bytes(memory[at : at + _WIDTH])
            if found == digest:
                return False
            if found == _FREE:
                memory[at : at + _WIDTH] = digest
                return True
            place += 1
        return True
