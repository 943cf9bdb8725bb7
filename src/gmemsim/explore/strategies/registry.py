"""Strategies by the names that they have on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from ...nearest import nearest

if TYPE_CHECKING:
    from .base import SearchStrategy

#: Name of what a search does unless told otherwise: every state first, then the portfolio (`explore.campaign`).
AUTO: Final = "auto"

#: By name: module, class, and whether it takes a seed and a number (`pct:3`).
_WHERE: Final[dict[str, tuple[str, str, bool, bool]]] = {
    AUTO: ("complete_first", "CompleteFirst", True, False),
    "portfolio": ("portfolio", "Portfolio", True, False),
    "random": ("random_walk", "RandomWalk", True, False),
    "pos": ("pos", "Pos", True, False),
    "pct": ("pct", "Pct", True, True),
    "surw": ("surw", "Surw", True, False),
    "preemption": ("preemption_bound", "PreemptionBound", False, True),
    "delay": ("delay_bound", "DelayBound", False, True),
    "dfs": ("dfs", "DepthFirst", False, False),
    "dpor": ("dpor", "Dpor", False, True),
    "stateful": ("stateful", "Stateful", False, True),
}


class _Classes(Mapping[str, "type[SearchStrategy]"]):
    """The classes, imported when asked for: a run needs one of them."""

    def __getitem__(self, name: str) -> type[SearchStrategy]:
        module, cls, _, _ = _WHERE[name]
        return cast("type[SearchStrategy]", getattr(import_module(f".{module}", __package__), cls))

    def __iter__(self) -> Iterator[str]:
        return iter(_WHERE)

    def __len__(self) -> int:
        return len(_WHERE)


#: Preemptions, delays or priority changes of a run: more than any run here has steps that matter.
MOST: Final = 10_000

#: By name, the default first.
STRATEGIES: Final[Mapping[str, type[SearchStrategy]]] = _Classes()


def make_strategy(spec: str, seed: int = 0) -> SearchStrategy:
    """The strategy that `spec` (`portfolio`, `pct:3`, `preemption:2`, …) names.

    Args:
        seed: for those that draw; the others do without.

    Raises:
        ValueError: there is none of that name, or it does not take that number.
    """
    name, colon, number = spec.partition(":")
    if name not in _WHERE:
        close = nearest(name, _WHERE)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"no strategy {spec!r}: {meant}there are {_names()}")
    _, _, seeded, numbered = _WHERE[name]
    arguments = [seed] if seeded else []
    if colon:
        if not numbered:
            raise ValueError(
                f"the strategy {name} takes no number, but it says {spec!r}: there are {_names()}"
            )
        if not (number.isascii() and number.isdigit()):
            raise ValueError(f"{number[:20]!r} in {spec[:40]!r} is no number: there are {_names()}")
        if len(number) > 5 or int(number) > MOST:
            raise ValueError(f"{spec[:40]!r}: expected a number of at most {MOST:,}")
        arguments.append(int(number))
    return STRATEGIES[name](*arguments)


def _names() -> str:
    return ", ".join(f"{name}[:N]" if numbered else name for name, (_, _, _, numbered) in _WHERE.items())
