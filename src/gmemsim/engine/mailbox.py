"""A mailbox: the queue in front of an actor that handles one message at a time.

Kernel code runs in the context of its caller, so most handlers are plain awaited calls. A mailbox is for what
really is serial: a security processor, a VMM's event loop.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .observed import announces, whole
from .op import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .task import Task

M = TypeVar("M")


def _own(mailbox: Mailbox[Any]) -> tuple[str, int, int]:
    return mailbox.label, 0, ALL


@announces(_queue=whole(_own), _owner=_own, _serving=_own)
class Mailbox(Generic[M]):
    """FIFO of requests; `call` waits for the reply, `receive` and `reply` are the owner's side."""

    __slots__ = ("_owner", "_queue", "_receive", "_reply", "_send", "_serving", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self._queue: deque[tuple[Task, M]] = deque()
        self._owner: Task | None = None
        self._serving: Task | None = None
        self._send = Op("call", label)
        self._receive = Op("wait", label)
        self._reply = Op("wake", label)

    def holders(self) -> Iterable[str]:
        return () if self._serving is None else (self._serving.name,)

    def __len__(self) -> int:
        return len(self._queue)

    async def call(self, t: Task, message: M) -> Any:
        """Send `message` and wait for the reply."""
        if t.traps:
            await t.point(self._send)
        self._queue.append((t, message))
        if self._owner is not None:
            owner, self._owner = self._owner, None
            t.engine.wake(owner)
        return await t.park(self, self._receive)

    async def receive(self, t: Task) -> tuple[Task, M]:
        """The next request and who sent it; blocks while there is none."""
        while not self._queue:
            self._owner = t
            await t.park(self, self._receive)
        sender, message = self._queue.popleft()
        self._serving = sender
        return sender, message

    async def reply(self, t: Task, sender: Task, answer: Any) -> None:
        """Answer the request of `sender`."""
        if t.traps:
            await t.point(self._reply)
        self._serving = None
        t.engine.wake(sender, answer)
