"""Operations of a user's own: a struct with the keys that it has in a scenario, and what it does.

The class is derived from what its pages are: `Op` (none), `GuestRange`, `GuestAccess`, `FileRange` or `MapRange`. It is
made known by the decorator `operation` when its file is read, which the command line has to name: as the file of a
patch or of an oracle, or by `--operation`.
"""

from __future__ import annotations

from functools import cache
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

import msgspec
from msgspec import Meta

from ..patches.entered import note_entered
from ..patches.user_file import PatchError, class_in, file_of, is_users
from .handlers.registry import HANDLERS
from .model import Document, SetupTable, TaskTable
from .op_base import Op
from .ops import ALIASES, OPS, AnyOp
from .results import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.task import Task

#: What a handler is called with, after the operation itself.
_ARGUMENTS = ("thread", "t", "step", "lo", "hi")
_own: dict[str, type[Op]] = {}


_T = TypeVar("_T", bound=type[Any])


def operation(cls: _T) -> _T:
    """Class decorator: scenarios may use it from now on, under its name (`SealRange` is `seal_range`).

    Raises:
        PatchError: it cannot be one.
    """
    given: Any = cls
    if not (isinstance(given, type) and issubclass(given, Op)):
        raise PatchError(
            f"{getattr(cls, '__name__', cls)!s:.60}: no operation; derive it from gmemsim.extend.Op, FileRange, …"
        )
    name = str(cls.__struct_config__.tag)
    run = getattr(cls, "run", None)
    if not iscoroutinefunction(run):
        raise PatchError(
            f"{cls.__name__}: expected an async function run({', '.join(('self', *_ARGUMENTS))})"
        )
    try:
        signature(run).bind(*("self", *_ARGUMENTS))
    except TypeError as error:
        raise PatchError(
            f"{cls.__name__}.run: expected to be called with {', '.join(('self', *_ARGUMENTS))}: {error}"
        ) from None
    config = cls.__struct_config__
    if not (config.frozen and config.forbid_unknown_fields and config.tag_field == "op"):
        raise PatchError(
            f"{cls.__name__}: expected a frozen struct whose unknown keys are errors, as its base is"
        )
    known = _own.get(name)
    if (name in OPS or name in ALIASES) and known is None:
        raise PatchError(f"{cls.__name__}: {name} is an operation of gmemsim's own; give it another name")
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise PatchError(f"{cls.__name__}: there is an operation {name} already, of {_where(known)}")
    if known is not None:
        HANDLERS.pop(known, None)  # its file was read anew
    _own[name] = OPS[name] = cls
    HANDLERS[cls] = _run
    return cls


async def _run(thread: Any, t: Task, step: Any, lo: int, hi: int) -> Outcome:
    """The handler of all of them: a `Thread` and a `Step`, as every other gets."""
    op: Any = step.op
    note_entered(type(op).__name__)
    outcome = await op.run(thread, t, step, lo, hi)
    if not isinstance(outcome, Outcome) or not isinstance(outcome.outcome, str):
        raise TypeError(f"{type(op).__name__}.run: expected an Outcome, got {outcome!r:.60}")
    return outcome


def _where(cls: type) -> str:
    return file_of(cls) or cls.__module__


def is_own(op: Op) -> bool:
    """Whether an operation is a user's, so that nothing but its own class knows what it does."""
    return _own.get(op.name) is type(op)


def load_operations(names: Iterable[str]) -> None:
    """Read the files of operations, each `path/to/file.py:Class`.

    Raises:
        PatchError: no such class, or no operation.
    """
    for name in names:
        _named(name)


def _named(name: str) -> type[Op]:
    cls, path = class_in(name, Op, "no operation", "derive it from gmemsim.extend.Op, FileRange, …")
    if _own.get(str(cls.__struct_config__.tag)) is not cls:
        raise PatchError(f"{path}: {cls.__name__} is not marked as an operation: @gmemsim.extend.operation")
    return cls


def files_of(raw: Any) -> tuple[str, ...]:
    """`path:Class` of every operation of users' files that tables mention, for another process."""
    return tuple(dict.fromkeys(file_of(own) for own in operations_in(raw) if is_users(own.__module__)))


def operations_in(raw: Any, names: Iterable[str] = ()) -> tuple[type[Op], ...]:
    """Every operation of the user's that tables mention, whether a task comes to it or not, and those that are named.

    Raises:
        PatchError: as `load_operations`.
    """
    found = dict.fromkeys(_named(name) for name in names)
    todo = [raw]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            own = _own.get(str(each.get("op")))
            if own is not None:
                found[own] = None
            todo += each.values()
        elif isinstance(each, list):
            todo += each
    return tuple(found)


def document_type() -> type[Document]:
    """What a scenario is decoded into, with the operations that are known now."""
    return _document_type(tuple(_own.values())) if _own else Document


@cache
def _document_type(own: tuple[type[Op], ...]) -> type[Document]:
    any_op: Any = Union[(AnyOp, *own)]  # made of a tuple
    options: dict[str, Any] = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True}
    setup = msgspec.defstruct(
        "SetupTable",
        [("launch", list[any_op], []), ("ops", list[any_op], [])],
        bases=(SetupTable,),
        **options,
    )
    tasks: Any = msgspec.defstruct(
        "TaskTable", [("ops", Annotated[list[any_op], Meta(min_length=1)])], bases=(TaskTable,), **options
    )
    found = msgspec.defstruct(
        "Document", [("setup", setup, setup()), ("task", list[tasks], [])], bases=(Document,), **options
    )
    assert issubclass(found, Document)
    return found
