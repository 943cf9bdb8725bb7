"""The inner loops of `heap`, `nodes`, `live` and `coroutines`: in C where that was compiled, else in Python.

`make quick` compiles `_quick*.c` beside this file, which takes a C compiler and Python's headers; coverage.py does
the same with its tracer. The modules around them it compiles from Python with mypyc, as mypy and black are. Both come
to the same, and tests hold them against each other; with GMEMSIM_PURE set in the environment it is Python all the same.
What has no function here in Python (`changed`, `offsets`, and those of `coroutines`) is done by its caller in another
way where `COMPILED` is False.
"""

from __future__ import annotations

import os
from array import array
from hashlib import blake2b
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

__all__ = [
    "COMPILED", "MODULES", "chain_of", "changed", "compiled_modules", "digest_of_source", "drop", "folder_of_modules",
    "fresh", "held_by", "meet", "offsets", "put_back", "sources", "suspended", "take", "texts", "unusual", "write",
    "write_frame",
]  # fmt: skip

#: Those around the loops that mypyc can compile: none has coroutines of its own, or counts references.
MODULES: Final = ("contents", "digest", "heap", "live", "nodes", "texts")
_PLAIN: Final = frozenset({type(None), bool, int, str})


class _Views:
    """What is known of nodes, under a renaming."""

    def __init__(self, known: list[Any], view: int) -> None:
        self._known = known
        self._view = view

    def __getitem__(self, number: int) -> Any:
        return self._known[number].views[self._view]


def _texts(known: list[Any], numbers: bytes, behind: list[bytes], view: int) -> bytes:
    """The texts of nodes under a renaming (-1: without one), then those of each row in `behind`, eight bytes each.

    Behind one that an earlier row of `behind` has too come -2, the number of that row, and the place in it. A row has
    four bytes a number.
    """
    said: Any = known if view < 0 else _Views(known, view)
    parts = array("q", [said[number][0] for number in array("i", numbers)])
    met: dict[int, tuple[int, int]] = {}
    for ident, nodes in enumerate(behind):
        for at, number in enumerate(array("i", nodes)):
            parts.append(said[number][0])
            first = met.setdefault(number, (ident, at))
            if first[0] != ident:
                parts.extend((-2, *first))
    return parts.tobytes()


def _meet(
    start: list[int], before: Any, known: list[Any], work_out: Callable[[int], Any], view: int
) -> tuple[bytes, bytes, Any]:
    """The nodes behind `start`, depth first, that are not in `before`; how they hang together; and what they are.

    That is: numbers; for each reference the place that it leads to, and -1 for a new one, both four bytes each; and
    what to give as `before` to have these left out, if it was None. `work_out` gives a node that is not known.
    """
    nodes = array("i")
    earlier: dict[int, int] = before or {}
    place: dict[int, int] = {}
    base = len(earlier)
    shape = array("i")
    stack = start[::-1]
    while stack:
        number = stack.pop()
        at = earlier.get(number)
        if at is None:
            at = place.get(number)
        if at is not None:
            shape.append(at)
            continue
        place[number] = base + len(nodes)
        nodes.append(number)
        shape.append(-1)
        node = known[number] or work_out(number)
        stack.extend((node if view < 0 else node.views[view])[1][::-1])
    return nodes.tobytes(), shape.tobytes(), place if before is None else None


def _write(
    values: Iterable[Any],
    out: list[str],
    refers: list[int],
    numbers: dict[int, int],
    words: tuple[type, ...],
    other: Callable[[Any], None],
) -> None:
    """Append what is said of values: plain ones as they are shown, those with a number as a reference.

    `other` says it of everything else, and of the classes in `words`.
    """
    for value in values:
        cls = value.__class__
        if cls in _PLAIN:
            out.append(repr(value))
            continue
        number = None if cls in words else numbers.get(id(value))
        if number is not None:
            out.append("#")
            refers.append(number)
        else:
            other(value)


def _write_frame(
    words: bytes,
    skip: frozenset[int],
    out: list[str],
    refers: list[int],
    numbers: dict[int, int],
    other: Callable[[Any], None],
    owned: list[Any],
) -> None:
    """The same of a frame: addresses of its variables, 0 for none, and what it owns. Places in `skip` are left out."""
    values: dict[int, Any] = {}
    for place, word in enumerate(memoryview(words).cast("Q")):
        if place in skip:
            continue
        number = numbers.get(word)
        if number is not None:
            out.append("#")
            refers.append(number)
        elif word:
            values = values or {id(value): value for value in owned}
            value = values[word]
            if value.__class__ in _PLAIN:
                out.append(repr(value))
            else:
                other(value)
        else:
            out.append("-")


def _fresh(content: tuple[Any, ...], pairs: bool, classes: set[type], numbers: dict[int, int]) -> list[Any]:
    """The values of a content, or of the pairs in it, whose class is not in a set and that have no number."""
    values = chain.from_iterable(content) if pairs else content
    return [value for value in values if value.__class__ not in classes and id(value) not in numbers]


def _unusual(values: list[Any], classes: set[type]) -> list[Any]:
    """The values whose class is not in a set."""
    return [value for value in values if value.__class__ not in classes]


def sources() -> list[Path]:
    """The files in C, header included."""
    return sorted(Path(__file__).parent.glob("_quick*.[ch]"))


def digest_of_source() -> str:
    """Of what is compiled: a module from another text is not taken."""
    return _digest(sources())


def folder_of_modules() -> Path:
    """Where the compiled modules lie; named after all of the package, constants of which are compiled in."""
    here = Path(__file__).parent
    return here / f"_modules_{_digest(sorted(here.glob('*.py')))}"


def _digest(paths: list[Path]) -> str:
    """Of names and texts."""
    each = (f"{path.name}\0{blake2b(path.read_bytes()).hexdigest()}" for path in paths)
    return blake2b("\n".join(each).encode(), digest_size=16).hexdigest()


def compiled_modules() -> list[str]:
    """Folders to look for modules of the package in before its own: the compiled ones, if they are to be used."""
    if os.environ.get("GMEMSIM_PURE"):
        return []
    folder = folder_of_modules()
    # Without the library behind them none can be imported.
    return [str(folder)] if any(folder.glob("group__mypyc*")) else []


def _compiled() -> ModuleType | None:
    if os.environ.get("GMEMSIM_PURE"):
        return None
    try:
        found = import_module("._quick", __package__)
    except ImportError:
        return None
    return found if getattr(found, "SOURCE", "") == digest_of_source() else None


texts, meet, write, write_frame = _texts, _meet, _write, _write_frame
fresh, unusual = _fresh, _unusual
changed: Any = None
offsets: Any = None
chain_of: Any = None
drop: Any = None
held_by: Any = None
put_back: Any = None
suspended: Any = None
COMPILED = False


def take(found: ModuleType) -> None:
    """Use the compiled functions from now on."""
    ours = globals()
    ours |= {name: getattr(found, name) for name in __all__ if hasattr(found, name)}
    ours["COMPILED"] = True


_found = _compiled()
if _found is not None:
    take(_found)
