"""What a call announces when it runs alone: its steps, and what it touches and tells beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.op import ALL, Op, footprint
from gmemsim.engine.strategy import FirstRunnable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gmemsim.engine.task import Task

__all__ = ["steps"]


def _shown(op: Op) -> str:
    place = "" if op.hi == ALL else f"[{op.lo:#x}, {op.hi:#x})"
    return f"{op.kind} {op.obj}{place} {op.mode}"


def steps(
    call: Callable[[Task], Coroutine[Any, Any, Any]], *, touches: bool = True, events: bool = False
) -> list[str]:
    """In order, and not that the task begins and ends; accesses indented (`touches`), events with a star (`events`)."""
    engine = Engine(FirstRunnable(), rec=lambda t, event: told(event) if events else None)
    touched: list[Op] = []
    found: list[str] = []
    announced: list[Op] = []

    def settle() -> None:
        if announced and touches:
            found.extend(f"  {_shown(op)}" for op in footprint(announced[-1], touched)[1:] if op.obj != "a")
        touched.clear()

    def look(task: Task) -> None:
        settle()
        announced.append(task.pending)
        found.append(_shown(task.pending))

    def told(event: object) -> None:
        found.append(f"* {type(event).__name__}")

    engine.ask_touched(touched)
    engine.watch_steps(look)
    engine.spawn("a", call)
    bare.run(engine)
    settle()
    return found[1:]
