"""What a user's patch did in a run, to be said beside a verdict: functions that never ran, errnos of its own.

A function that was not entered yet is stood in for by one that notes the first call, puts the original back and goes on
with it. So a function costs one call more in its life, and nothing afterwards.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..actors.errno import ERRNOS
from .frozen import IN_CACHE
from .outlives import Held
from .sources import ours, own_functions
from .user_file import PatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType

    from ..actors.kernel import Kernel


@attrs.frozen
class Entered:
    """The functions of a user's classes, and those that ran, by name.

    Attributes:
        functions: in the order of the file.
        ran: filled while it is watched.
        errnos: what a function returned that it returns in no version (`fitting`), a sentence each; filled likewise.
        outlived: what is kept over a run and was changed, as far as somebody looked (`note_state`); once at the end.
    """

    functions: tuple[str, ...]
    ran: set[str] = attrs.field(factory=set)
    errnos: set[str] = attrs.field(factory=set)
    outlived: list[str] = attrs.field(factory=list)

    @property
    def never(self) -> tuple[str, ...]:
        """Those that did not run."""
        return tuple(name for name in self.functions if name not in self.ran)

    def refuse_state(self) -> None:
        """Whoever makes more than one run can say nothing if they are not alike: what a run left behind makes the next
        one fail that would not, or pass.

        Raises:
            PatchError: a run changed what it does not begin anew.
        """
        for name in self.outlived:
            cached = (
                "; do without the cache, or keep what it knows on self" if name.endswith(IN_CACHE) else ""
            )
            raise PatchError(
                f"{name} was changed by a run and outlives it: what a run changes has to hang on self or the "
                f"kernel's objects, so that the next run begins anew{cached}"
            )

    def joined(self, other: Entered) -> Entered:
        """Of two searches of one patch."""
        return Entered(self.functions, self.ran | other.ran, self.errnos | other.errnos)


_FAULT: Final = "faults."

_watching: list[tuple[Entered, Held]] = []


@contextmanager
def watch_overrides(
    *classes: type[Kernel], also: tuple[str, ...] = (), beside: tuple[type, ...] = ()
) -> Iterator[Entered]:
    """Note which functions of the classes are entered in the block; of a version of ours there are none.

    Args:
        also: names that `note_entered` is told of: checks of a user's rules, operations, fault points.
        beside: classes of the user's whose variables are looked at as well.
    """
    own = [each for cls in classes for each in own_functions(cls)]
    entered = Entered((*dict.fromkeys(name for _, name, _ in own), *also))
    for owner, name, function in own:
        _arm(owner, name, function)
    watching = entered, Held(*(each for each in (*classes, *beside) if not ours(each)))
    _watching.append(watching)
    try:
        yield entered
    finally:
        note_state()
        _watching[:] = [each for each in _watching if each is not watching]


def _arm(owner: type, name: str, function: FunctionType) -> None:
    value = vars(owner)[name]
    shown: Any = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if hasattr(shown, "first_call"):
        return

    @functools.wraps(function)
    def first(*args: Any, **options: Any) -> Any:
        setattr(owner, name, value)
        note_entered(name)
        return shown(*args, **options)

    first.__dict__.update(stands_for=shown, first_call=True)
    stand_in: Any = first
    if isinstance(value, property):
        stand_in = property(first, value.fset, value.fdel)
    elif isinstance(value, (staticmethod, classmethod)):
        stand_in = type(value)(first)
    setattr(owner, name, stand_in)


def note_entered(name: str) -> None:
    """A function that nothing stands in for ran, of those in `also`."""
    for entered, _ in _watching:
        entered.ran.add(name)


def note_state() -> None:
    """Look whether what is kept over a run is still as it was; between two steps, or when runs are over."""
    for entered, held in _watching:
        if not entered.outlived and (name := held.changed()):
            entered.outlived.append(name)


def refuse_state() -> None:
    """Between two runs; as `Entered.refuse_state`."""
    for entered, _ in _watching:
        entered.refuse_state()


def holds_state() -> bool:
    """Whether there is a user's file to look at."""
    return any(held for _, held in _watching)


def _name(number: int) -> str:
    return f"{ERRNOS.get(number, 'errno')} ({number})"


def note_errno(name: str, number: int) -> None:
    """A function returned an errno that it returns in no version."""
    text = f"Your `{name}` returned {_name(number)}, which it returns in no version."
    for entered, _ in _watching:
        entered.errnos.add(text)


def fault_point(label: str) -> str:
    """The name under which a fault point of a scenario is in `also`."""
    return f"{_FAULT}{label}"


def without_faults(names: tuple[str, ...]) -> tuple[str, ...]:
    """Functions alone: a test with a fault point that nothing came to is weaker than it looks, and not wrong."""
    return tuple(name for name in names if not name.startswith(_FAULT))


def note_fault(label: str) -> None:
    """A task came to a fault point, whether it fired or not."""
    note_entered(fault_point(label))


def never_ran(names: tuple[str, ...], runs: str) -> str:
    """One line for people; empty if all ran.

    Args:
        runs: in what (`2,000 schedules`).
    """
    functions = [f"`{name}`" for name in names if not name.startswith(_FAULT)]
    faults = [f"`{name.removeprefix(_FAULT)}`" for name in names if name.startswith(_FAULT)]
    said = [f"Your {', '.join(functions)} never ran in {runs}."] if functions else []
    if faults:
        said.append(
            f"Nothing came to the fault point{'s' * (len(faults) > 1)} {', '.join(faults)} in {runs}."
        )
    return " ".join(said)
