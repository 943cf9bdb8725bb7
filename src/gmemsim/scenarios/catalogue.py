"""The scenarios that come with the package, by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from ..nearest import nearest
from .errors import ScenarioError
from .scenario import Scenario, load, loads

_FOLDER = Path(__file__).parent / "library"
_ZOO_FOLDER = Path(__file__).parent / "zoo"
_LITMUS_FOLDER = Path(__file__).parent / "litmus"

#: Scenarios that go with seeded bugs: `zoo-launch`. Apart from the library, because some show what every version has.
ZOO: Final = "zoo-"
#: Litmus tests: `litmus-same_page`.
LITMUS: Final = "litmus-"


def names() -> list[str]:
    """Names of all scenarios of the library, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def zoo_names() -> list[str]:
    """Names of the scenarios that go with seeded bugs and hazards."""
    return [ZOO + path.stem for path in sorted(_ZOO_FOLDER.glob("*.toml"))]


def litmus_names() -> list[str]:
    """Names of the litmus tests."""
    return [LITMUS + path.stem for path in sorted(_LITMUS_FOLDER.glob("*.toml"))]


@cache
def load_named(name: str) -> Scenario:
    """The library's scenario of that name; parsed once a process.

    Raises:
        ScenarioError: there is none.
    """
    path = _FOLDER / f"{name}.toml"
    if name.startswith(ZOO):
        path = _ZOO_FOLDER / f"{name.removeprefix(ZOO)}.toml"
        known = zoo_names()
    elif name.startswith(LITMUS):
        path = _LITMUS_FOLDER / f"{name.removeprefix(LITMUS)}.toml"
        known = litmus_names()
    else:
        known = names()
    if name not in known:
        # Somebody may leave the prefix out.
        others = [*zoo_names(), *litmus_names()]
        close = [each for each in (ZOO + name, LITMUS + name) if each in others] or nearest(name, known)
        close = close or nearest(name, others)
        meant = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"
        raise ScenarioError(name, 0, "", f"no such scenario; {meant}")
    return loads(path.read_text(encoding="utf-8"), f"{name}.toml")


def find(name: str) -> Scenario:
    """A library scenario by name, or the file at a path (anything with a slash or ending in .toml).

    Raises:
        ScenarioError: no such scenario, or it is wrong.
    """
    if name.endswith(".toml") or "/" in name:
        return load(name)
    return load_named(name)


def comes_with_us(scenario: Scenario) -> bool:
    """Whether it is one of the package's, and not a user's own, which may have the same name."""
    known = (*names(), *zoo_names(), *litmus_names())
    return scenario.name in known and load_named(scenario.name).source.raw == scenario.source.raw
