"""What a suspended coroutine still knows: its position, its locals, and what lies on its evaluation stack.

The stack matters: the list that a `for` loop walks and the left side of `a != await b` are in no variable. Python
shows locals only, but the garbage collector visits the stack as well, behind the locals; how many objects it visits in
front of them depends on the interpreter and is measured once, on a coroutine whose frame is known.
"""

from __future__ import annotations

from gc import get_referents
from types import CoroutineType, GeneratorType, coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import CodeType


@coroutine
def _trap() -> Generator[None, None, None]:
    yield


async def _probe(one: int, two: int) -> None:
    # Two locals, and on the stack nothing but what is awaited.
    await _trap()


def _measure() -> int:
    probe = _probe(1, 2)
    probe.send(None)
    _, found = _referents(probe)
    stack = found[-1:]
    probe.close()
    # Two locals and one object on the stack; -1 if this interpreter keeps its stack from the collector.
    return len(found) - 3 if isinstance(stack[0], GeneratorType) else -1


def _referents(suspended: Any) -> tuple[Mapping[str, Any], list[Any]]:
    frame: Any = suspended.cr_frame if isinstance(suspended, CoroutineType) else suspended.gi_frame
    # Before the collector looks: both become objects that it visits. From 3.13 on it is no dict.
    variables: Mapping[str, Any] = frame.f_locals
    return variables, get_referents(suspended)


_IN_FRONT = _measure()


def place_of(coro: Any) -> tuple[int, ...]:
    """Where a suspended coroutine is: the position in each function of its chain of calls, outermost first."""
    place: list[int] = []
    while isinstance(coro, CoroutineType):
        frame = coro.cr_frame
        if frame is None:
            break
        place.append(frame.f_lasti)
        coro = coro.cr_await
    return tuple(place)


def code_of(suspended: Any) -> CodeType:
    """The code of a coroutine or generator."""
    code: CodeType = suspended.cr_code if isinstance(suspended, CoroutineType) else suspended.gi_code
    return code


def look_into(suspended: Any) -> tuple[str, str, Mapping[str, Any], list[Any]] | None:
    """Name and position of a suspended coroutine or generator, its locals, its stack; None if it has ended.

    Raises:
        NotImplementedError: this interpreter does not show evaluation stacks, so states cannot be told apart.
    """
    if _IN_FRONT < 0:
        raise NotImplementedError("this Python does not show what lies on the stack of a suspended coroutine")
    frame = suspended.cr_frame if isinstance(suspended, CoroutineType) else suspended.gi_frame
    if frame is None:
        return None
    # With the line, since functions of two modules may have one name.
    position = f"{frame.f_code.co_firstlineno}+{frame.f_lasti}"
    variables, found = _referents(suspended)
    return suspended.__qualname__, position, variables, found[_IN_FRONT + len(variables) :]
