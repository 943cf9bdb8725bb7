"""Requests of tasks to actors in the log, and the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.events import Receive, Send

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel


def request(self: Kernel, t: Task, at: str, message: str, detail: str = "") -> int:
    """Log a request from `t` to actor `at`, at both ends; the result pairs it with its `answer`.

    Call it only when `t.rec` is set.
    """
    world = self.world
    world.next_message = ident = world.next_message + 1
    rec = t.rec
    if rec is not None:
        rec(t, Send(at, ident, message, detail))
        rec(t, Receive(at, ident, message))
    return ident


def answer(self: Kernel, t: Task, ident: int, message: str, detail: str) -> None:
    """Log the reply to request `ident`, at both ends."""
    rec = t.rec
    if rec is not None:
        rec(t, Send(t.name, ident, message, detail))
        rec(t, Receive(t.name, ident, message))
